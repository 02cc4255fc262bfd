"""projects: tenants. Every job, upload and key belongs to a project."""

from datetime import datetime

from sqlalchemy import JSON, BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Json

DEFAULT_PROJECT = "default"
UNLIMITED = -1


class Project(Base):
    """`id` is the project's name. A NULL limit means the default of the settings, UNLIMITED none."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    max_running_jobs: Mapped[int | None]
    max_queued_jobs: Mapped[int | None]
    max_stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_device_hours: Mapped[float | None]
    # data_roots, origins and buckets that jobs may name; NULL for all of the settings.
    sources: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime]


class Owned:
    """A row that belongs to a project. Not a foreign key: SQLite could add one only by copying the table, which would
    take the rows that depend on it along.
    """

    project_id: Mapped[str] = mapped_column(
        String(64), default=DEFAULT_PROJECT, server_default=DEFAULT_PROJECT, sort_order=900
    )
