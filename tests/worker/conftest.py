"""Fixtures: a storage in a local folder, a runner in the test's process with the tiny trainer, and a fast real trainer."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.forked_trainer import forked_trainer
from tests.support.rig import MakeRig, Rig
from ttm_jobs.storage import Storage, build_storage


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.thorough), "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database. The tests of `ttm` run workers on SQLite, those of `ttm_jobs` all its queries."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return build_storage(f"file:{tmp_path}/storage")


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    return make_rig()


@pytest.fixture(scope="session")
def forked_trainer_command() -> Iterator[Sequence[str]]:
    """The command of the real trainer, forked from a process that has imported torch. It is not confined."""
    with forked_trainer() as command:
        yield command
