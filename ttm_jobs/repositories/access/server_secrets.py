"""Secrets of the service, created on first use."""

import secrets

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from ttm_jobs.models import ServerSecret


def ensure(session: Session, name: str) -> bytes:
    """Returns 32 random bytes stored under a name. Concurrent calls return the same bytes."""
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
    session.execute(insert(ServerSecret).values(name=name, value=secrets.token_bytes(32)).on_conflict_do_nothing())
    return session.scalars(select(ServerSecret.value).where(ServerSecret.name == name)).one()
