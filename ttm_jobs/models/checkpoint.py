"""checkpoints: checkpoints in the storage, from which any worker can resume."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Sha256


class Checkpoint(Base):
    """`path` is relative to the trainer's work directory. `best` marks the best so far by validation when it was
    saved.
    """

    __tablename__ = "checkpoints"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[int]
    path: Mapped[str] = mapped_column(String(512))
    key: Mapped[str] = mapped_column(String(512))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[Sha256]
    best: Mapped[bool]
    lease_epoch: Mapped[int]
    created_at: Mapped[datetime]
