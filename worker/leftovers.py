"""Work directories whose attempt is over, left by workers that were killed."""

from pathlib import Path

from sqlalchemy import Engine

from ttm_jobs.database import read_scope
from ttm_jobs.errors import JobNotFound
from ttm_jobs.repositories import jobs
from ttm_jobs.states import HELD
from worker.files import remove_tree


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
            job = jobs.get(session, job_id)
        except JobNotFound:
            return False
        return job.state in HELD and str(job.lease_epoch) == epoch
