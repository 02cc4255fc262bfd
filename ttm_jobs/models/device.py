"""devices: machines of a project that have measured ONNX files or polled for measuring work."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base
from ttm_jobs.models.project import DEFAULT_PROJECT, Owned


class Device(Owned, Base):
    """`cpu` is the model of its CPU or board as last reported; NULL until the first measurement."""

    __tablename__ = "devices"

    project_id: Mapped[str] = mapped_column(
        String(64), primary_key=True, default=DEFAULT_PROJECT, server_default=DEFAULT_PROJECT
    )
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    cpu: Mapped[str | None] = mapped_column(String(200))
    last_seen_at: Mapped[datetime]
