"""The stream of a job, read."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from ttm_jobs.models import JobEvent
from ttm_jobs.models.base import Json
from ttm_jobs.models.job_event import HISTORY


def after(session: Session, job_id: str, number: int, *, limit: int = 500) -> Sequence[JobEvent]:
    """The events after the given number, in order; 0 for all."""
    return session.scalars(
        select(JobEvent)
        .where(JobEvent.job_id == job_id, JobEvent.number > number)
        .order_by(JobEvent.number)
        .limit(limit)
    ).all()


def history(session: Session, job_id: str) -> Sequence[JobEvent]:
    """The changes of state and phase, in order."""
    return session.scalars(select(JobEvent).where(JobEvent.job_id == job_id, HISTORY).order_by(JobEvent.number)).all()


def planned(session: Session, job_id: str) -> Json | None:
    """What the engine told of a job before its first step; None if it did not come to that."""
    # Near the beginning of the stream, and so soon found in the order of the key.
    query = select(JobEvent.data).where(JobEvent.job_id == job_id, JobEvent.kind == "planned")
    return session.scalar(query.order_by(JobEvent.number).limit(1))
