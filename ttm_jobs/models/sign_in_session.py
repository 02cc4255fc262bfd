"""sign_in_sessions: people and keys signed in to the dashboard."""

from datetime import datetime

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.database.sealing import Sealed
from ttm_jobs.models.base import Base, Id, Sha256
from ttm_jobs.models.project import Owned


class SignInSession(Owned, Base):
    """Either of a key (`key_id`) or of a person (`user_id`, `name`, `groups`). The token in the cookie is not stored.

    `project_id` is the selected project of a person. `state_sha256` is the hash of the sign-in's `state`, which makes
    each usable once. `groups` lists only groups that give access. Rows of ended sessions stay until they expire.
    """

    __tablename__ = "sign_in_sessions"

    token_sha256: Mapped[Sha256] = mapped_column(primary_key=True)
    key_id: Mapped[Id | None]
    # The subject at the identity provider.
    user_id: Mapped[str | None] = mapped_column(String(255))
    name: Mapped[str | None] = mapped_column(String(100))
    groups: Mapped[list[str]] = mapped_column(JSON)
    # Names the session to the provider at sign-out.
    id_token: Mapped[str | None] = mapped_column(Sealed)
    state_sha256: Mapped[Sha256 | None] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]
