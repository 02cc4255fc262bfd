"""project_events: the event stream of a project: of all its jobs and studies. project_streams: its last number."""

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Json


class ProjectStream(Base):
    """A row per project with events. It is separate from `projects`, because other transactions lock that row early."""

    __tablename__ = "project_streams"

    project_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_event_number: Mapped[int] = mapped_column()


class ProjectEvent(Base):
    """`kind` is that of the job's or study's own event after `job.` or `study.`. The number is given at the end of a
    transaction under the lock of the stream's row, so a reader that has seen number n will never miss a smaller one.
    """

    __tablename__ = "project_events"

    project_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(32))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    study_id: Mapped[str | None] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), index=True)
    data: Mapped[Json] = mapped_column(JSON)
    at: Mapped[datetime]

    # Clusters the events of a project in reading order.
    __table_args__ = ({"sqlite_with_rowid": False},)
