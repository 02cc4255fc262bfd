"""Removes processes and directories left by workers that have ended.

The kernel ends a trainer with its worker, but not the trainer's own child processes. All of them have an environment
variable that identifies their worker.
"""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Engine

from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import JobNotFound
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.states import HELD
from worker.files import remove_tree

logger = logging.getLogger(__name__)

_WORKER = "TTM_TRAINER_OF"
_PROC = Path("/proc")


def marks() -> dict[str, str]:
    """Environment variables that identify this worker in its trainers."""
    return {_WORKER: f"{os.getpid()}:{_start_time(os.getpid())}"}


def kill_orphans() -> list[int]:
    """Kill all trainer processes whose worker has ended.

    Returns:
        The killed process ids; empty on systems without /proc.
    """
    killed = []
    for pid, worker in _marked():
        owner, _, started = worker.partition(":")
        # Process ids are reused, so the start time must match too.
        if owner.isdigit() and _start_time(int(owner)) == started:
            continue
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    if killed:
        logger.warning("Killed processes of an ended worker: %s", killed)
    return killed


def _marked() -> Iterator[tuple[int, str]]:
    for directory in _PROC.glob("[0-9]*"):
        # Processes of other users cannot be read, and any process may end during the iteration.
        with suppress(OSError):
            for entry in (directory / "environ").read_bytes().split(b"\0"):
                name, _, value = entry.partition(b"=")
                if name == _WORKER.encode():
                    yield int(directory.name), value.decode(errors="replace")


def _start_time(pid: int) -> str | None:
    """Start time in clock ticks since boot; None if there is no such process or it is a zombie."""
    with suppress(OSError):
        # The name (in parentheses) can contain any character. The state and, as 20th field, the start time follow it.
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[19] if fields[0] not in "ZX" else None
    return None


def attempt_directory(work_dir: Path, job_id: str, epoch: int) -> Path:
    """Directory of a lease. A new lease has a new directory, so files written late by an old trainer are never read."""
    return _attempts(work_dir) / job_id / str(epoch)


def remove_stale_directories(engine: Engine, work_dir: Path) -> None:
    """Remove the directories of attempts without a lease. Directories of other workers on this machine stay."""
    for directory in sorted(_attempts(work_dir).glob("*/*")):
        if not _is_held(engine, directory.parent.name, directory.name):
            remove_attempt(directory)


def remove_attempt(directory: Path) -> None:
    """Remove the directory of an attempt, and that of its job if it is empty then."""
    remove_tree(directory)
    try:
        directory.parent.rmdir()
    except OSError:
        # Another attempt of the job has a directory, or none was created.
        return


def _attempts(work_dir: Path) -> Path:
    return work_dir.absolute() / "attempts"


def _is_held(engine: Engine, job_id: str, epoch: str) -> bool:
    with read_scope(engine) as session:
        try:
            job = crud.get(session, job_id)
        except JobNotFound:
            return False
        return job.state in HELD and str(job.lease_epoch) == epoch
