"""sign_in_failures: failed sign-ins of each network address within the last minute."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base


class SignInFailures(Base):
    """`failures` counts from `since` on. An old row starts again at the next failure."""

    __tablename__ = "sign_in_failures"

    address: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int]
    since: Mapped[datetime] = mapped_column(index=True)
