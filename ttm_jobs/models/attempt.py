"""attempts: one row per claim of a job."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base


class Attempt(Base):
    """`outcome` is succeeded, failed, cancelled, paused, released (given back by a drained worker), lost (its lease
    ran out) or error (an infrastructure error), and NULL while it runs. Its cause, where it has one, is code, message,
    origin ("user" or "system") and retryable. `from_step` is where it began, `to_step` the last step it told of.
    """

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    lease_epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int]
    worker_id: Mapped[str] = mapped_column(String(36))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    code: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str | None] = mapped_column(Text)
    origin: Mapped[str | None] = mapped_column(String(8))
    retryable: Mapped[bool | None]
    from_step: Mapped[int | None] = mapped_column(BigInteger)
    to_step: Mapped[int | None] = mapped_column(BigInteger)
