"""Where the files of jobs that are told of lie."""

from pathlib import Path

import pytest

from ttm_jobs.storage import Storage, build_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return build_storage(f"file:{tmp_path}/storage")
