"""Reads of event streams."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from ttm_jobs.models import Job, JobEvent
from ttm_jobs.models.base import Json
from ttm_jobs.models.job_event import HISTORY


def after(session: Session, job_id: str, number: int, *, limit: int = 500) -> Sequence[JobEvent]:
    """Returns the events after a number in order; 0 returns all."""
    return session.scalars(
        select(JobEvent)
        .where(JobEvent.job_id == job_id, JobEvent.number > number)
        .order_by(JobEvent.number)
        .limit(limit)
    ).all()


def history(session: Session, job_id: str) -> Sequence[JobEvent]:
    """Returns the changes of state and phase in order."""
    return session.scalars(select(JobEvent).where(JobEvent.job_id == job_id, HISTORY).order_by(JobEvent.number)).all()


def resolved(session: Session, job_id: str) -> Json | None:
    """Returns the data of the job's `resolved` event; None if it has none yet."""
    # It is near the beginning of the stream, so a scan in key order finds it quickly.
    query = select(JobEvent.data).where(JobEvent.job_id == job_id, JobEvent.kind == "resolved")
    return session.scalar(query.order_by(JobEvent.number).limit(1))


def last_event_numbers(session: Session, job_ids: Collection[str]) -> dict[str, int]:
    """The number of the newest event of each job. Omits jobs that do not exist."""
    rows = session.execute(select(Job.id, Job.last_event_number).where(Job.id.in_(job_ids)))
    return {row.id: row.last_event_number for row in rows}


def job_versions(session: Session, job_ids: Collection[str]) -> dict[str, int]:
    """The version of each job. Omits jobs that do not exist."""
    rows = session.execute(select(Job.id, Job.version).where(Job.id.in_(job_ids)))
    return {row.id: row.version for row in rows}
