"""uploads: files received over HTTP, referred to as upload:ID. upload_parts: the objects of uploads in parts."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Enum, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Id
from ttm_jobs.models.project import Owned


class UploadState(StrEnum):
    # Not all bytes have been received; the hash is unknown.
    RECEIVING = "receiving"
    # All bytes are durable in the storage; the hash is being computed.
    FINALIZING = "finalizing"
    # Complete and durable in the storage.
    COMPLETE = "complete"


FINALIZING = text("state = 'finalizing'")


class Upload(Owned, Base):
    __tablename__ = "uploads"

    id: Mapped[Id] = mapped_column(primary_key=True)
    filename: Mapped[str | None] = mapped_column(String(255))
    media_type: Mapped[str] = mapped_column(String(100))
    state: Mapped[UploadState] = mapped_column(
        Enum(
            UploadState,
            native_enum=False,
            create_constraint=False,
            length=16,
            values_callable=lambda e: [s.value for s in e],
        )
    )
    # The object of an upload in one request.
    key: Mapped[str] = mapped_column(String(512))
    # The announced size until the upload is complete; NULL if none was announced.
    size: Mapped[int | None] = mapped_column(BigInteger)
    # Durable bytes of an upload in parts.
    received: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    # Time of the last part; for a complete upload, of the last job that refers to it (to the hour).
    active_at: Mapped[datetime | None]
    sha256: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column()
    completed_at: Mapped[datetime | None]
    # Until then, one process computes the hash of a finalizing upload.
    finalizing_until: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_uploads_newest", "project_id", created_at.desc(), id.desc()),
        Index("ix_uploads_finalizing", "finalizing_until", sqlite_where=FINALIZING, postgresql_where=FINALIZING),
    )


class UploadPart(Base):
    """The bytes from `start`, stored as an object under `key`. Parts are contiguous and stay separate objects, so the
    last byte of an upload copies nothing.
    """

    __tablename__ = "upload_parts"

    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[str] = mapped_column(String(512))
