"""The outbox: pending messages, claimed for a while and deleted once delivered."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, bindparam, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from ttm_jobs.database.clock import Now, now
from ttm_jobs.models import OutboxMessage
from ttm_jobs.models.base import Json


def add(
    session: Session, topic: str, payload: Json, *, created_at: datetime, next_attempt_at: datetime, lane: str = ""
) -> None:
    message = OutboxMessage(
        topic=topic, lane=lane, payload=payload, created_at=created_at, next_attempt_at=next_attempt_at
    )
    session.add(message)


# A subquery, which the database evaluates once and so can look up in the index.
_AT = select(Now()).scalar_subquery()


def _any_due() -> Select[int]:
    due = select(OutboxMessage.id).where(
        OutboxMessage.topic == bindparam("topic"), OutboxMessage.lane == "", OutboxMessage.next_attempt_at <= _AT
    )
    return due.limit(1)


def _due_lanes() -> Select[str]:
    lanes = select(func.min(OutboxMessage.lane).label("lane")).where(OutboxMessage.topic == bindparam("topic"))
    found = lanes.cte("lanes", recursive=True)
    # Each lane costs two index steps, whatever the number of its messages.
    further = aliased(OutboxMessage)
    following = (
        select(func.min(further.lane))
        .where(further.topic == bindparam("topic"), further.lane > found.c.lane)
        .correlate(found)
        .scalar_subquery()
    )
    found = found.union_all(select(following).where(found.c.lane.is_not(None)))
    oldest = (
        select(func.min(OutboxMessage.next_attempt_at))
        .where(OutboxMessage.topic == bindparam("topic"), OutboxMessage.lane == found.c.lane)
        .correlate(found)
        .scalar_subquery()
    )
    return select(found.c.lane).where(found.c.lane.is_not(None), oldest <= _AT).order_by(oldest)


# Built once: idle dispatchers run them at each poll, and building them takes longer than running them.
_ANY_DUE, _DUE_LANES = _any_due(), _due_lanes()


def any_due(session: Session, topic: str) -> bool:
    """Whether messages of a topic without lanes are due. A read, so that an idle dispatcher writes nothing."""
    return session.scalar(_ANY_DUE, {"topic": topic}) is not None


def due_lanes(session: Session, topic: str) -> Sequence[str]:
    """Returns the lanes of a topic that have due messages, that of the oldest message first. A read."""
    return session.scalars(_DUE_LANES, {"topic": topic}).all()


def take(
    session: Session, topic: str, *, limit: int, again_after: timedelta, lane: str = ""
) -> Sequence[OutboxMessage]:
    """Claims due messages of a topic and lane, oldest first, for `again_after`. After a crash they become due again."""
    at = now(session)
    messages = session.scalars(
        select(OutboxMessage)
        .where(OutboxMessage.topic == topic, OutboxMessage.lane == lane, OutboxMessage.next_attempt_at <= at)
        .order_by(OutboxMessage.next_attempt_at, OutboxMessage.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for message in messages:
        message.next_attempt_at = at + again_after
        message.attempts += 1
    return messages


def delivered(session: Session, ids: Sequence[int]) -> None:
    session.execute(delete(OutboxMessage).where(OutboxMessage.id.in_(ids)))


def postpone(session: Session, message_id: int, until: datetime) -> None:
    """Makes a message due at `until`."""
    session.execute(update(OutboxMessage).where(OutboxMessage.id == message_id).values(next_attempt_at=until))
