"""job_events: the append-only event stream of a job, numbered from 1."""

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Json

# A literal: neither database matches a bound parameter with the condition of a partial index.
HISTORY = text("kind IN ('state', 'phase')")


class JobEvent(Base):
    """`kind` is state, phase, planned, teacher_measured, progress, metrics, checkpoint or log. The number is given
    under the lock of the job's row, so a reader that has seen number n will never miss a smaller one. Of progress
    events only the newest is kept, under a new number. The data of a metrics event is the step, the epoch and the names
    of the metrics; the values are in the `metrics` table.
    """

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(32))
    data: Mapped[Json] = mapped_column(JSON)
    at: Mapped[datetime]

    __table_args__ = (
        Index("ix_job_events_history", job_id, number, sqlite_where=HISTORY, postgresql_where=HISTORY),
        # Clusters the events of a job in reading order.
        {"sqlite_with_rowid": False},
    )
