"""Trainers whose worker is gone.

The kernel ends a trainer with its worker, but not what the trainer itself had started. Every process of a trainer's
group carries marks in its environment that say which worker it belongs to.
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
    """What this process gives its trainers to carry."""
    return {_WORKER: f"{os.getpid()}:{_start_time(os.getpid())}"}


def kill_orphans() -> list[int]:
    """Kills every process that belongs to a worker which lives no more. Returns their ids; none where there is no
    /proc.
    """
    killed = []
    for pid, worker in _marked():
        owner, _, started = worker.partition(":")
        # A number alone may have been given to another process since.
        if owner.isdigit() and _start_time(int(owner)) == started:
            continue
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    if killed:
        logger.warning("killed what a dead worker's trainer left: %s", killed)
    return killed


def _marked() -> Iterator[tuple[int, str]]:
    for directory in _PROC.glob("[0-9]*"):
        # Processes of others cannot be read, and any may end while we look.
        with suppress(OSError):
            for entry in (directory / "environ").read_bytes().split(b"\0"):
                name, _, value = entry.partition(b"=")
                if name == _WORKER.encode():
                    yield int(directory.name), value.decode(errors="replace")


def _start_time(pid: int) -> str | None:
    """In clock ticks since the machine started; None for no such process, or one that ended and was not reaped."""
    with suppress(OSError):
        # The name, in parentheses, may hold anything; after it come the state and, as the 20th field, the time.
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[19] if fields[0] not in "ZX" else None
    return None


def attempt_directory(work_dir: Path, job_id: str, epoch: int) -> Path:
    """One for each lease: what an old trainer may still write, a new one never reads."""
    return _attempts(work_dir) / job_id / str(epoch)


def remove_leftovers(engine: Engine, work_dir: Path) -> None:
    """Removes the directories of attempts that hold no lease; other workers of this machine may hold theirs."""
    for directory in sorted(_attempts(work_dir).glob("*/*")):
        if not _is_held(engine, directory.parent.name, directory.name):
            remove_attempt(directory)


def remove_attempt(directory: Path) -> None:
    """Removes one attempt's directory, and its job's, if that was the last."""
    remove_tree(directory)
    try:
        directory.parent.rmdir()
    except OSError:
        # Another attempt at the same job is there, or the directory was never made.
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
