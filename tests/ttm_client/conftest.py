"""Fixtures: the client against a real API over a socket."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from sqlalchemy import Engine

from tests.api.conftest import make_settings
from tests.support.api_server import served
from tests.support.hub import hub_of_this_process
from ttm_client import Client
from ttm_jobs.database.engine import create_engine
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage, build_storage


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the client stores the addresses of unfinished uploads."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def settings(sqlite_url: str, tmp_path: Path) -> Settings:
    return make_settings(sqlite_url, tmp_path)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = create_engine(settings.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return build_storage(settings.storage_url)


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with served(settings) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.fixture
def job_id(client: Client, settings: Settings) -> str:
    """A queued job."""
    return client.jobs.create(student="resnet18", dataset=settings.data_roots[0].as_uri(), method="ce").id


@pytest.fixture
def writable_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the repositories of a Hub. HF_TOKEN is a token of the owner `me`."""
    root = tmp_path / "hub"
    root.mkdir()
    with hub_of_this_process(root, monkeypatch):
        # The library's other protocol needs a storage server that is not published.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_me")
        yield root
