"""The API on real databases."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.app import create_app
from tests.support.api_server import served
from ttm_jobs.database.engine import create_engine
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage, build_storage

# For checks of requests that do not reach the database, or do so in the same way on both.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def make_settings(url: str, folder: Path) -> Settings:
    data = folder / "data"
    data.mkdir(exist_ok=True)
    return Settings(
        database_url=url,
        storage_url=f"file:{folder / 'storage'}",
        # Nothing listens there: the API has to do without.
        broker_url="redis://127.0.0.1:1/0",
        data_roots=(data,),
        max_upload_bytes=8 << 20,
        # Some tests send thousands of requests.
        requests_per_second=None,
        failed_sign_ins_per_minute=None,
        # The name by which the test client asks.
        allowed_hosts=("testserver", "127.0.0.1", "localhost"),
    )


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.thorough), "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database. The tests of `ttm` run the API on SQLite, those of `ttm_jobs` all its queries."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """On each kind of database, files allowed under `tmp_path/data`."""
    return make_settings(database_url, tmp_path)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = create_engine(settings.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return build_storage(settings.storage_url)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture
def sqlite_settings(sqlite_url: str, tmp_path: Path) -> Settings:
    """For what does not depend on the database."""
    return make_settings(sqlite_url, tmp_path)


@pytest.fixture
def sqlite_client(sqlite_settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(sqlite_settings)) as client:
        yield client


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def shared_client(sqlite_template: Path, shared_folder: Path) -> Iterator[TestClient]:
    """One app for all tests of a module: for requests that change nothing."""
    database = shared_folder / "ttm.db"
    shutil.copy(sqlite_template, database)
    with TestClient(create_app(make_settings(f"sqlite:///{database}", shared_folder))) as client:
        yield client


@pytest.fixture
def live(settings: Settings) -> Iterator[str]:
    """The URL of a real server, for what a test client cannot do: stream."""
    with served(settings) as url:
        yield url
