"""A storage in a folder, and a runner in this process, with the tiny trainer as a real process."""

from pathlib import Path

import pytest

from tests.support.rig import MakeRig, Rig
from ttm_jobs.storage import Storage, build_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return build_storage(f"file:{tmp_path}/storage")


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    return make_rig()
