"""Bombs as job inputs of a worker with a memory limit: its processes never use more than twice the limit, each job fails once
with a user error, and the next job succeeds.
"""

import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.security.corpus import archives, checkpoints
from tests.security.hostile_jobs import assert_user_error, hostile_rig, run
from tests.support.rig import Rig
from worker.trainer.resources import held_by

_LIMIT = 1536 * 2**20
_CHECKPOINTS = (
    "compressed bomb, a second end",
    "keys of nested tuples, dict, depth 24, zip",
    "3,000 names for one storage, legacy",
)
_ARCHIVES = (
    "tar, 256 MiB in a long name, xz",
    "parquet, binary, 64 rows of 30 MiB",
    "pickle, ten million lists",
)


class Peak:
    """The peak of the private memory of the rig's processes in bytes."""

    bytes = 0


@contextmanager
def _measured(others: Collection[psutil.Process]) -> Iterator[Peak]:
    peak, stopped, this = Peak(), threading.Event(), psutil.Process()

    def sample_memory() -> None:
        while not stopped.wait(0.05):
            held = 0
            for child in set(this.children(recursive=True)).difference(others):
                with suppress(psutil.Error):
                    held += held_by(child)
            peak.bytes = max(peak.bytes, held)

    thread = threading.Thread(target=sample_memory)
    thread.start()
    try:
        yield peak
    finally:
        stopped.set()
        thread.join()


@pytest.fixture(scope="module")
def others() -> Collection[psutil.Process]:
    """Processes that earlier tests started and later ones use, such as databases and fork servers."""
    return frozenset(psutil.Process().children(recursive=True))


@pytest.fixture(scope="module")
def rig(others: Collection[psutil.Process], sqlite_template: Path, folder: Path, pets: str) -> Iterator[Rig]:
    command = (sys.executable, "-m", "ttm_core", "run")
    limits = {"trainer_memory_bytes": _LIMIT, "reader_memory_bytes": 2**30}
    with hostile_rig(sqlite_template, folder, pets, command, **limits) as rig:
        yield rig


@pytest.mark.parametrize("name", _CHECKPOINTS)
def test_checkpoints_stay_within_the_memory_limit(
    rig: Rig, others: Collection[psutil.Process], folder: Path, pets: str, name: str
) -> None:
    path = folder / "data" / "teacher.pth"
    checkpoints.CASES[name](path, folder / "mark")
    teacher = {"checkpoint": path.as_uri(), "architecture": checkpoints.ARCHITECTURE}
    with _measured(others) as peak:
        job = run(rig, dataset=pets, method="kd", teacher=teacher)
    assert_user_error(rig, job, "bad_checkpoint")
    assert 0 < peak.bytes < 2 * _LIMIT


@pytest.mark.parametrize("name", _ARCHIVES)
def test_archives_stay_within_the_memory_limit(
    rig: Rig, others: Collection[psutil.Process], folder: Path, name: str
) -> None:
    path = folder / "data" / "archive"
    archives.CASES[name](path)
    with _measured(others) as peak:
        job = run(rig, dataset=path.as_uri())
    assert_user_error(rig, job, "bad_dataset")
    assert 0 < peak.bytes < 2 * _LIMIT
