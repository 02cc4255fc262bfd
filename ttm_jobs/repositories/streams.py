"""How far the streams of several jobs have come, for one look at all that are followed."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from ttm_jobs.models import Job


def newest(session: Session, job_ids: Collection[str]) -> dict[str, int]:
    """The number of the newest event of each job; a job that does not exist is left out."""
    rows = session.execute(select(Job.id, Job.last_event).where(Job.id.in_(job_ids)))
    return {row.id: row.last_event for row in rows}


def versions(session: Session, job_ids: Collection[str]) -> dict[str, int]:
    """The version of each job; a job that does not exist is left out."""
    rows = session.execute(select(Job.id, Job.version).where(Job.id.in_(job_ids)))
    return {row.id: row.version for row in rows}
