"""project_storage: stored bytes of projects, maintained by triggers on uploads, artifacts, checkpoints and jobs."""

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base
from ttm_jobs.models.project import DEFAULT_PROJECT, Owned


class ProjectStorage(Owned, Base):
    """The stored bytes of a project are the sum over its at most 16 shards.

    A connection to PostgreSQL uses one shard, so that transactions of one project rarely wait for each other. A single
    shard may be negative.
    """

    __tablename__ = "project_storage"

    project_id: Mapped[str] = mapped_column(
        String(64), primary_key=True, default=DEFAULT_PROJECT, server_default=DEFAULT_PROJECT
    )
    shard: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger)
