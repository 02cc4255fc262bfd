"""The stream of a job, read."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from ttm_jobs.models import JobEvent
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
