"""A short soak. `python -m tests.faults.soak` runs the long one."""

from pathlib import Path

import pytest

from tests.faults.soak import soak


@pytest.mark.thorough
@pytest.mark.fault("soak: everything is killed at random")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_job_is_lost_or_ends_twice(kind: str, tmp_path: Path) -> None:
    counted, figures = soak(jobs=6, workers=2, seed=1, kind=kind, directory=tmp_path, minutes=2)
    assert counted.sound, figures
    assert sum(figures["kills"].values()) > 0
