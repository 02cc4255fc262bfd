"""Fixtures: a storage in a local folder, and a runner in the test's process with the tiny trainer."""

from pathlib import Path

import pytest

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
