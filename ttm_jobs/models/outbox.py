"""outbox: what is owed to the outside, written in the transaction that owes it. A row is gone once it was paid."""

from datetime import datetime

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Json, Serial


class OutboxMessage(Base):
    """`topic` says who delivers it: `ring` rings the notifier for payload {job_id, priority, queue}, `webhook` sends
    the delivery {delivery_id}, `mlflow` tells of the job {job_id}. Not before `next_attempt_at`.
    """

    __tablename__ = "outbox"

    id: Mapped[Serial] = mapped_column(primary_key=True)
    topic: Mapped[str] = mapped_column(String(32))
    payload: Mapped[Json] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column()
    next_attempt_at: Mapped[datetime] = mapped_column()
    attempts: Mapped[int] = mapped_column(default=0)

    __table_args__ = (Index("ix_outbox_next_attempt_at", topic, next_attempt_at, id),)
