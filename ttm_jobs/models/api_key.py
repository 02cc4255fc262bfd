"""api_keys: API keys. The secret is not stored."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Enum, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Id, Sha256
from ttm_jobs.models.project import Owned


class Scope(StrEnum):
    """What a key may do. Each scope includes the previous ones, except that `read` changes nothing."""

    # Download ONNX artifacts, measure them and post the measurements; nothing else.
    MEASURE = "measure"
    # Read the project's resources.
    READ = "read"
    # Submit and change jobs, upload files.
    SUBMIT = "submit"
    # Manage the project's keys.
    ADMIN = "admin"

    def includes(self, other: "Scope") -> bool:
        order = list(Scope)
        return order.index(self) >= order.index(other)


class ApiKey(Owned, Base):
    """`prefix` is the visible beginning of the secret; `sha256` is the hash of the whole secret."""

    __tablename__ = "api_keys"

    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(16), unique=True)
    sha256: Mapped[Sha256]
    scope: Mapped[Scope] = mapped_column(
        Enum(
            Scope,
            native_enum=False,
            create_constraint=False,
            length=16,
            values_callable=lambda e: [s.value for s in e],
        )
    )
    created_at: Mapped[datetime] = mapped_column()
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_api_keys_project_id", "project_id", created_at),)
