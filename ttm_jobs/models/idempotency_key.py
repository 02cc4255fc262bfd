"""idempotency_keys: responses to requests with an Idempotency-Key, returned again when the request is repeated."""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.database.sealing import Sealed
from ttm_jobs.models.base import Base, Sha256


class IdempotencyKey(Base):
    """`request` is the SHA-256 of method, path and body. The response is written in the transaction of the request."""

    __tablename__ = "idempotency_keys"

    project_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request: Mapped[Sha256]
    status: Mapped[int]
    location: Mapped[str | None] = mapped_column(String(512))
    # The response to a new webhook contains its secret.
    body: Mapped[str] = mapped_column(Sealed)
    created_at: Mapped[datetime] = mapped_column()

    __table_args__ = (Index("ix_idempotency_keys_created_at", created_at),)
