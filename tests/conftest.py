"""Fixtures for real databases, a real broker and an S3 server. Each starts once per run, on first use."""

import gc
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from sqlalchemy import Engine

from tests.support.azure_server import NO_AZURE, AzureServer
from tests.support.folders import common_folder
from tests.support.forked_trainer import forked_trainer
from tests.support.gcs_server import GcsServer
from tests.support.rig import MakeRig, Rig
from tests.support.s3_server import S3Server
from tests.support.servers import PostgresServer, start_redis
from tests.support.stack import Stack
from tests.support.tiny import TINY_TRAINER
from ttm_jobs.broker.embedded import EmbeddedBroker
from ttm_jobs.database.engine import create_engine
from ttm_jobs.database.ids import new_id
from ttm_jobs.database.migrate import upgrade
from ttm_jobs.database.sealing import add_key
from ttm_jobs.settings import Settings
from ttm_jobs.storage import build_storage

if TYPE_CHECKING:
    from tests.support.damaged import Damaged

# Fixed examples make results reproducible on every machine; `--hypothesis-profile=default` draws new ones.
settings.load_profile("ci")

# No test verifies a certificate, and to read the authorities of the system takes 16 ms for each HTTP client.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "data" / "no_authority.pem")

THOROUGH = "THOROUGH_TESTS"
"""Set in the environment of a run that includes the tests marked `thorough`."""


_GPU_TESTS = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Lets modules generate fewer tests in the default run."""
    if "thorough" in config.option.markexpr:
        os.environ[THOROUGH] = "1"


@pytest.hookimpl(trylast=True)  # after tests/gpu/conftest.py has marked its tests
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Excludes tests marked `thorough`, unless an -m expression selects tests, and tests marked `gpu`, unless it names
    them.
    """
    expression = config.option.markexpr
    excluded = {name for name, wanted in (("thorough", expression), ("gpu", "gpu" in expression)) if not wanted}
    left_out = [item for item in items if any(map(item.get_closest_marker, excluded))]
    config.hook.pytest_deselected(items=left_out)
    config.stash[_GPU_TESTS] = sum(item.get_closest_marker("gpu") is not None for item in left_out)
    items[:] = [item for item in items if item not in set(left_out)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Turns the garbage collector on (tests/__init__.py turns it off), for objects that are made from now on."""
    gc.freeze()
    gc.enable()


def pytest_report_collectionfinish(config: pytest.Config) -> str | None:
    """Says that tests for GPUs are excluded."""
    number = config.stash.get(_GPU_TESTS, 0)
    return f"{number} tests for GPUs are excluded; `make gpu` runs them" if number else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server shared by all tests. Each test uses its own database."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A broker shared by all tests. Each test uses its own queue name."""
    broker = start_redis(tmp_path_factory.mktemp("redis"))
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An object store shared by all tests. Each test uses its own bucket."""
    with S3Server() as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GcsServer]:
    """Google Cloud Storage, shared by all tests. Each test uses its own bucket."""
    with GcsServer() as server:
        yield server


@pytest.fixture(scope="session")
def azure_server() -> Iterator[AzureServer]:
    """Azure Blob Storage, shared by all tests. Each test uses its own container."""
    if NO_AZURE is not None:
        pytest.skip(NO_AZURE)
    with AzureServer() as server:
        yield server


@pytest.fixture(scope="session")
def forked_trainer_command() -> Iterator[Sequence[str]]:
    """The command of the real trainer, forked from a process that has imported torch. It is not confined."""
    with forked_trainer() as command:
        yield command


@pytest.fixture(scope="session")
def forked_tiny_trainer() -> Iterator[Sequence[str]]:
    """The command of the tiny trainer, forked from a process that has imported it: for tests that run many jobs and are
    not about the trainer's process.
    """
    with forked_trainer(tiny=True) as command:
        yield command


@pytest.fixture(scope="session")
def damaged(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Damaged]":
    """Finished jobs of the real trainer and the API that serves them, shared by all tests that read damage reports."""
    # Imported here, with PyTorch: the process that distributes the tests imports this file and no test.
    from tests.support.damaged import damaged_jobs

    with damaged_jobs(common_folder(tmp_path_factory, "damaged"), sqlite_template) as jobs:
        yield jobs


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a migrated SQLite database for this test only."""
    path = tmp_path / "ttm.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database for this test only."""
    with postgres.migrated() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database for this test only. Runs the test on SQLite and on PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def stack(tmp_path: Path, database_url: str, redis: EmbeddedBroker) -> Iterator[Stack]:
    """Manages real service processes. None is started yet."""
    with Stack(tmp_path, database_url, redis) as stack:
        yield stack


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def make_rig(engine: Engine, database_url: str, tmp_path: Path) -> MakeRig:
    """Returns a factory of workers that share the database and the storage. Each has its own work directory."""
    data = tmp_path / "data"
    data.mkdir()

    def make(trainer_command: Sequence[str] = TINY_TRAINER, **settings: object) -> Rig:
        values = {
            "database_url": database_url,
            "storage_url": f"file:{tmp_path}/storage",
            "work_dir": tmp_path / f"work-{new_id()}",
            "data_roots": (data,),
            "lease_seconds": 10.0,
            "heartbeat_seconds": 0.1,
            "event_flush_seconds": 0.1,
            "retry_backoff_seconds": 0.001,
            "stop_grace_seconds": 5.0,
            **settings,
        }
        built = Settings.model_validate(values)
        return Rig(built, engine, build_storage(built.storage_url), trainer_command)

    return make


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """The file:// URI of a folder that workers may read."""
    return f"file://{tmp_path}/data"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A file with one key that encrypts the secrets in a database."""
    path = tmp_path / "secret.key"
    add_key(path)
    return path
