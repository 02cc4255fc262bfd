"""teacher_stores: teacher stores on workers' disks. teacher_store_uses: their use by jobs."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Sha256
from ttm_jobs.models.project import Owned


class TeacherStore(Base):
    """A store as reported by the workers of a host. `place` is its folder; `digest` identifies its content."""

    __tablename__ = "teacher_stores"

    digest: Mapped[Sha256] = mapped_column(primary_key=True)
    hostname: Mapped[str] = mapped_column(String(255), primary_key=True)
    place: Mapped[str] = mapped_column(String(512), primary_key=True)
    encoding: Mapped[str] = mapped_column(String(16))
    size: Mapped[int] = mapped_column(BigInteger)
    rows: Mapped[int] = mapped_column(BigInteger)
    used_at: Mapped[datetime]
    last_seen_at: Mapped[datetime] = mapped_column()

    __table_args__ = (
        Index("ix_teacher_stores_place", hostname, place),
        Index("ix_teacher_stores_last_seen_at", last_seen_at),
    )


class TeacherStoreUse(Owned, Base):
    """The use of a store by a job. `cache_hits` counts images whose logits were read, `forwards` images that ran
    through the
    teacher. Both are 0 unless the job succeeded.
    """

    __tablename__ = "teacher_store_uses"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[Sha256] = mapped_column(primary_key=True)
    cache_hits: Mapped[int] = mapped_column(BigInteger)
    forwards: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]

    __table_args__ = (Index("ix_teacher_store_uses_digest", "project_id", digest),)
