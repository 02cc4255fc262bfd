"""attempts: one row per claim of a job."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base


class Attempt(Base):
    """`outcome` is succeeded, failed, cancelled, paused, released (by a drained worker or after a restore), lost (the
    lease expired) or error (an infrastructure error); NULL while the attempt runs. `code`, `message`, `origin` ("user"
    or "system") and `retryable` describe the error, if any. `from_step` is the first step, `to_step` the last reported
    one.
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
