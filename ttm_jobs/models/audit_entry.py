"""audit_entries: who changed what over the API. Rows are never updated; a trigger refuses it."""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base, Id
from ttm_jobs.models.project import Owned


class AuditEntry(Owned, Base):
    """`action` is the operation's id in the OpenAPI document. `user_id` identifies a person, `key_id` a key; `actor` is
    the name of either. All are NULL for requests without a key.

    Not a foreign key to the API key: entries outlive what they refer to.
    """

    __tablename__ = "audit_entries"

    id: Mapped[Id] = mapped_column(primary_key=True)
    key_id: Mapped[Id | None]
    user_id: Mapped[str | None] = mapped_column(String(255))
    actor: Mapped[str | None] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(64))
    object: Mapped[str | None] = mapped_column(String(512))
    request_id: Mapped[str] = mapped_column(String(64))
    address: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column()

    __table_args__ = (
        Index("ix_audit_entries_newest", "project_id", id),
        Index("ix_audit_entries_created_at", created_at),
    )
