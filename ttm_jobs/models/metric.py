"""metrics: one row per value, so a curve is one range of the primary key and can be thinned in the database."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base


class Metric(Base):
    """`epoch` is fractional. A value that is not finite is NULL. A step recorded twice (by an attempt and by the one
    that
    resumed it) has one row.
    """

    __tablename__ = "metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[float]
    value: Mapped[float | None]
    # Recording time.
    at: Mapped[datetime | None]

    __table_args__ = ({"sqlite_with_rowid": False},)
