"""What waits, in the order in which `turns` lets workers take it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from ttm_jobs.models import Job
from ttm_jobs.models.job import WAITING


@dataclass(frozen=True)
class Place:
    """Of a job in its project's line of a queue: what orders the line."""

    priority: int
    created_at: datetime
    job_id: str


def lengths(session: Session) -> dict[str, tuple[int, datetime]]:
    """How many jobs wait in each queue, and since when the one that waits longest; an empty queue is left out."""
    query = select(Job.queue, func.count(), func.min(Job.queued_at)).where(WAITING).group_by(Job.queue)
    return {queue: (count, since) for queue, count, since in session.execute(query)}


def page(session: Session, queue: str, *, limit: int, after: Place | None = None) -> Sequence[Job]:
    """Of the session's project, the next first."""
    if after is None:
        return _some(session, queue, limit=limit)
    # In two parts, each a range of the index; as one condition, or with the pair compared as one, it would be none.
    later = or_(Job.created_at > after.created_at, Job.id > after.job_id)
    as_urgent = (Job.priority == after.priority, Job.created_at >= after.created_at, later)
    found = list(_some(session, queue, *as_urgent, limit=limit))
    if len(found) < limit:
        found += _some(session, queue, Job.priority < after.priority, limit=limit - len(found))
    return found


def count_until(session: Session, queue: str, place: Place) -> int:
    """How many of the project's jobs are in the line up to a place, that of a job of its own included."""
    no_later = or_(Job.created_at < place.created_at, Job.id <= place.job_id)
    as_urgent = (Job.priority == place.priority, Job.created_at <= place.created_at, no_later)
    return sum(
        session.scalar(select(func.count(Job.id)).where(WAITING, Job.queue == queue, *conditions)) or 0
        for conditions in ((Job.priority > place.priority,), as_urgent)
    )


def _some(session: Session, queue: str, *conditions: ColumnElement[bool], limit: int) -> Sequence[Job]:
    query = select(Job).where(WAITING, Job.queue == queue, *conditions)
    return session.scalars(query.order_by(Job.priority.desc(), Job.created_at, Job.id).limit(limit)).all()
