"""Creates database rows for tests through the repositories."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from ttm_core.spec.dataset import DatasetSpec
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs import crud, leases
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.states import JobState

MINUTE = timedelta(minutes=1)
# The duration of a lease that expires immediately.
NO_TIME = timedelta(0)


def spec(name: str = "a job", dataset: str = "file:///data/pets", **fields: Any) -> dict[str, Any]:
    """The spec of a small job."""
    return {"name": name, "student": "cifar/resnet20", "dataset": dataset, "method": "ce", **fields}


def create_job(session: Session, **fields: Any) -> Job:
    """Creates a queued job."""
    body = fields.pop("spec", None) or spec()
    return crud.create(
        session,
        **{
            "spec": body,
            "name": body["name"],
            "student": "cifar/resnet20",
            "dataset": DatasetSpec.model_validate(body["dataset"]).uri,
            "method": "ce",
            **fields,
        },
    )


def queued(engine: Engine, **fields: Any) -> str:
    """Creates and commits a queued job and returns its id."""
    with session_scope(engine) as session:
        return create_job(session, **fields).id


def claimed(engine: Engine, job_id: str, owner: str = "worker-1", duration: timedelta = MINUTE) -> Lease:
    """Claims a job that must be claimable and returns the lease."""
    with session_scope(engine) as session:
        lease = leases.claim(session, job_id, owner, duration=duration)
    assert lease is not None
    return lease


def running(engine: Engine, owner: str = "worker-1", duration: timedelta = MINUTE, **fields: Any) -> Lease:
    """Creates and claims a job and returns the lease."""
    return claimed(engine, queued(engine, **fields), owner, duration)


def state_of(engine: Engine, job_id: str) -> JobState:
    return job_of(engine, job_id).state


def job_of(engine: Engine, job_id: str) -> Job:
    with read_scope(engine) as session:
        return crud.get(session, job_id)
