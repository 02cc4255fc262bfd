"""workers: workers and dispatchers, as they register themselves."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Id, Json
from ttm_jobs.settings import DEFAULT_QUEUE


class Worker(Base):
    """`kind` is worker or dispatcher. `devices` names what a worker trains on, `queues`
    those it serves, the preferred first. `architectures` are those of packages that it has installed, by key
    (repositories/installed.py). A process that ends in order removes its row.
    """

    __tablename__ = "workers"

    id: Mapped[Id] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    hostname: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    devices: Mapped[list[Any]] = mapped_column(JSON)
    queues: Mapped[list[str]] = mapped_column(JSON, default=lambda: [DEFAULT_QUEUE], server_default='["default"]')
    architectures: Mapped[Json] = mapped_column(JSON, default=dict, server_default="{}")
    started_at: Mapped[datetime]
    last_seen_at: Mapped[datetime] = mapped_column()
    job_id: Mapped[str | None] = mapped_column(String(36))
    # Error of the last claim or attempt, in words; None since a claim that did not fail.
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_workers_last_seen_at", last_seen_at),)
