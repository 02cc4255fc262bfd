"""registry_entries: named teachers and datasets of a project, in immutable versions."""

from datetime import datetime
from typing import Literal

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Json
from ttm_jobs.models.project import DEFAULT_PROJECT, Owned

Kind = Literal["teacher", "dataset"]


class RegistryEntry(Owned, Base):
    """`spec` is the part of a job spec that the entry replaces. Versions count from 1. A deleted version keeps its
    row, so
    its number is not reused.
    """

    __tablename__ = "registry_entries"

    project_id: Mapped[str] = mapped_column(
        String(64), primary_key=True, default=DEFAULT_PROJECT, server_default=DEFAULT_PROJECT
    )
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    spec: Mapped[Json] = mapped_column(JSON)
    description: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
