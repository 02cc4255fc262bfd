"""A worker whose jobs read hostile files, on SQLite and a local folder."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.security.corpus import checkpoints
from tests.support.factories import job_of, queued, spec
from tests.support.rig import Rig
from ttm_jobs.database.engine import create_engine
from ttm_jobs.models import Job
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from ttm_jobs.storage import build_storage


@contextmanager
def hostile_rig(template: Path, folder: Path, pets: str, command: Sequence[str], **settings: Any) -> Iterator[Rig]:
    """One worker for all cases. After the last one, it must still run a valid job."""
    shutil.copy(template, folder / "ttm.db")
    built = Settings.model_validate(
        {
            "database_url": f"sqlite:///{folder}/ttm.db",
            "storage_url": f"file:{folder}/storage",
            "work_dir": folder / "work",
            "data_roots": (folder / "data",),
            "event_flush_seconds": 0.1,
            **settings,
        }
    )
    engine = create_engine(built.database_url)
    rig = Rig(built, engine, build_storage(built.storage_url), command)
    yield rig
    good = run(rig, dataset=pets)
    assert good.state is JobState.SUCCEEDED, good.failure
    engine.dispose()


def run(rig: Rig, **fields: Any) -> Job:
    body = spec(student=checkpoints.ARCHITECTURE, training={"epochs": 1, "batch_size": 4, "threads": 1}, exports=[])
    job_id = queued(rig.engine, spec={**body, **fields})
    rig.run(job_id)
    return job_of(rig.engine, job_id)


def assert_user_error(rig: Rig, job: Job, *codes: str) -> None:
    """One attempt, a failure of origin `user` with one of these codes, and nothing left in the work directory."""
    failure = job.failure
    assert job.state is JobState.FAILED, job.state
    assert failure is not None
    assert (failure["origin"], failure["retryable"], job.attempt) == ("user", False, 1), failure
    assert failure["code"] in codes, failure
    assert 0 < len(failure["message"]) <= 2000
    assert all(character.isprintable() or character in "\n\t" for character in failure["message"])
    assert list((rig.settings.work_dir / "attempts").iterdir()) == []
