"""measurement_requests: ONNX files that a device should measure."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, Enum, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Id, Json, Sha256
from ttm_jobs.models.project import Owned


class RequestState(StrEnum):
    # Waits for an agent of the device.
    QUEUED = "queued"
    # An agent measures the file, or has vanished; claimable again when the lease expires.
    CLAIMED = "claimed"
    # `result` has the measurement.
    DONE = "done"
    # `error` has the reason. The file is not measured again.
    FAILED = "failed"


class MeasurementRequest(Owned, Base):
    """The file is the object `key` of the storage. `job_id` and `artifact` name it if it is an artifact of a job; its
    measurement is then also recorded in `measurements`. `threads` is NULL for all cores of the device.
    """

    __tablename__ = "measurement_requests"

    id: Mapped[Id] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(512))
    sha256: Mapped[Sha256]
    size: Mapped[int] = mapped_column(BigInteger)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    artifact: Mapped[str | None] = mapped_column(String(200))
    batch: Mapped[int]
    threads: Mapped[int | None]
    state: Mapped[RequestState] = mapped_column(
        Enum(
            RequestState,
            native_enum=False,
            create_constraint=False,
            length=16,
            values_callable=lambda e: [s.value for s in e],
        )
    )
    claims: Mapped[int] = mapped_column(default=0)
    claimed_at: Mapped[datetime | None]
    lease_expires_at: Mapped[datetime | None]
    result: Mapped[Json | None] = mapped_column(JSON)
    error: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime] = mapped_column()
    finished_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_measurement_requests_device", "project_id", device, state, created_at, id),)
