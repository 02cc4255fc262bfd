"""measurements: latency and memory of jobs' ONNX artifacts on devices."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Sha256
from ttm_jobs.models.project import Owned


class Measurement(Owned, Base):
    """The newest measurement of an artifact on a device at one batch size and number of threads.

    `sha256` is that of the measured file. `created_by` is the name of the API key, or `worker`. Times are in ms,
    throughput in images/s.
    """

    __tablename__ = "measurements"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    artifact: Mapped[str] = mapped_column(String(200), primary_key=True)
    device: Mapped[str] = mapped_column(String(64), primary_key=True)
    runtime: Mapped[str] = mapped_column(String(32), primary_key=True)
    runtime_version: Mapped[str] = mapped_column(String(32), primary_key=True)
    batch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    threads: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sha256: Mapped[Sha256]
    provider: Mapped[str] = mapped_column(String(64))
    cpu: Mapped[str] = mapped_column(String(200))
    precision: Mapped[str] = mapped_column(String(16))
    pinned: Mapped[bool]
    p50_ms: Mapped[float]
    p90_ms: Mapped[float]
    throughput: Mapped[float]
    repeats: Mapped[int]
    relative_error: Mapped[float]
    load_ms: Mapped[float]
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    created_by: Mapped[str | None] = mapped_column(String(100))

    __table_args__ = (Index("ix_measurements_device", "project_id", device),)
