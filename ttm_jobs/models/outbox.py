"""outbox: pending messages, written in the transaction of their cause and deleted once delivered."""

from datetime import datetime

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Json, Serial


class OutboxMessage(Base):
    """`topic` selects the handler: `wake_up` notifies workers of {job_id, priority, queue}, `webhook` sends
    {delivery_id},
    `mlflow` exports {job_id}, `study` decides the next actions of {study_id}. Due at `next_attempt_at`. Topics with
    messages that can be slow divide them into lanes, which do not wait for each other.
    """

    __tablename__ = "outbox"

    id: Mapped[Serial] = mapped_column(primary_key=True)
    topic: Mapped[str] = mapped_column(String(32))
    lane: Mapped[str] = mapped_column(String(128), default="")
    payload: Mapped[Json] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column()
    next_attempt_at: Mapped[datetime] = mapped_column()
    attempts: Mapped[int] = mapped_column(default=0)

    __table_args__ = (Index("ix_outbox_due", topic, lane, next_attempt_at, id),)
