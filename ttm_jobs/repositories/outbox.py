"""The outbox: pending messages, claimed for a while and deleted once delivered."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import OutboxMessage
from ttm_jobs.models.base import Json


def add(session: Session, topic: str, payload: Json, *, created_at: datetime, next_attempt_at: datetime) -> None:
    session.add(OutboxMessage(topic=topic, payload=payload, created_at=created_at, next_attempt_at=next_attempt_at))


def any_due(session: Session, topic: str) -> bool:
    """Whether messages are due. A read, so that an idle dispatcher writes nothing."""
    due = select(OutboxMessage.id).where(OutboxMessage.topic == topic, OutboxMessage.next_attempt_at <= now(session))
    return session.scalar(due.limit(1)) is not None


def take(session: Session, topic: str, *, limit: int, again_after: timedelta) -> Sequence[OutboxMessage]:
    """Claims due messages of a topic, oldest first, for `again_after`. After a crash they become due again."""
    at = now(session)
    messages = session.scalars(
        select(OutboxMessage)
        .where(OutboxMessage.topic == topic, OutboxMessage.next_attempt_at <= at)
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
