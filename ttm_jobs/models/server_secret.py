"""server_secrets: secrets shared by the processes of the service."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.database.sealing import Sealed
from ttm_jobs.models.base import Base


class ServerSecret(Base):
    __tablename__ = "server_secrets"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    # 32 random bytes in base64.
    value: Mapped[str] = mapped_column(Sealed)
