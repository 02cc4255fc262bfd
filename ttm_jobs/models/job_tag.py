"""job_tags: tags of jobs, indexed in the order of lists by tag."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base
from ttm_jobs.models.project import Owned


class JobTag(Owned, Base):
    """`created_at` is copied from the job for the index."""

    __tablename__ = "job_tags"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime] = mapped_column()

    __table_args__ = (Index("ix_job_tags_newest", "project_id", tag, created_at.desc(), job_id.desc()),)
