"""webhooks: receivers of the events of a project's jobs and studies. webhook_deliveries: sent and pending messages."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, Enum, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.database.sealing import Sealed
from ttm_jobs.models.base import Base, Id
from ttm_jobs.models.project import Owned


class DeliveryState(StrEnum):
    # Not delivered yet; the next attempt is scheduled.
    PENDING = "pending"
    # The receiver returned 2xx.
    DELIVERED = "delivered"
    # No further attempt.
    FAILED = "failed"


class Webhook(Owned, Base):
    """`events` selects events; empty means all. Until `old_secret_until`, requests are signed with `old_secret`
    too. A disabled webhook receives nothing; its events are stored as failed deliveries.
    """

    __tablename__ = "webhooks"

    id: Mapped[Id] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(String(2048))
    events: Mapped[list[str]] = mapped_column(JSON)
    description: Mapped[str | None] = mapped_column(String(200))
    secret: Mapped[str] = mapped_column(Sealed)
    old_secret: Mapped[str | None] = mapped_column(Sealed)
    old_secret_until: Mapped[datetime | None]
    # Start of the current series of failed deliveries.
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column()

    __table_args__ = (Index("ix_webhooks_project_id", "project_id", created_at),)


class WebhookDelivery(Owned, Base):
    """`id` is sent as `webhook-id` with every attempt. `body` is the exact signed text."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[Id] = mapped_column(primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[DeliveryState] = mapped_column(
        Enum(
            DeliveryState,
            native_enum=False,
            create_constraint=False,
            length=16,
            values_callable=lambda e: [s.value for s in e],
        )
    )
    attempts: Mapped[int] = mapped_column(default=0)
    # Of the last attempt: the response's status, or the error without a response.
    status: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime] = mapped_column()
    last_attempt_at: Mapped[datetime | None]
    next_attempt_at: Mapped[datetime | None]

    # No index on the time alone: PostgreSQL would scan it for a webhook without recent deliveries.
    __table_args__ = (Index("ix_webhook_deliveries_newest", webhook_id, created_at.desc(), id.desc()),)
