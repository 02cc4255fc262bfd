"""teacher_stores: which teachers' logits lie on which worker's disk; teacher_store_uses: which jobs read them."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Sha256
from ttm_jobs.models.project import Owned


class TeacherStore(Base):
    """A store as the workers of a host tell of it. `place` is its folder there; `digest` names what it holds."""

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
    """A job that had a store open. `hits` counts images whose logits it read instead of running the teacher, `filled`
    those that it ran the teacher on; both are 0 for one that did not succeed.
    """

    __tablename__ = "teacher_store_uses"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[Sha256] = mapped_column(primary_key=True)
    hits: Mapped[int] = mapped_column(BigInteger)
    filled: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]

    __table_args__ = (Index("ix_teacher_store_uses_digest", "project_id", digest),)
