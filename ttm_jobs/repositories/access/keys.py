"""API keys: create, find by secret, revoke."""

import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.database.ids import new_id
from ttm_jobs.errors import KeyNotFound
from ttm_jobs.models import ApiKey, Scope

_SECRET = re.compile(r"ttm_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
# Recording every use would turn every request into a write.
_USE_INTERVAL = timedelta(minutes=10)


@dataclass(frozen=True)
class NewKey:
    """A new key with its secret, which is not stored."""

    key: ApiKey
    secret: str


def create(session: Session, *, project_id: str, name: str, scope: Scope, expires_at: datetime | None = None) -> NewKey:
    """Creates a key of an existing project. Its secret has 32 random bytes."""
    prefix = secrets.token_hex(4)
    secret = f"ttm_{prefix}_{secrets.token_urlsafe(32)}"
    key = ApiKey(
        id=new_id(),
        project_id=project_id,
        name=name,
        prefix=f"ttm_{prefix}",
        sha256=_hash(secret),
        scope=scope,
        created_at=now(session),
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    return NewKey(key, secret)


def find(session: Session, secret: str) -> ApiKey | None:
    """Returns the key of a secret; None if it is unknown, revoked or expired."""
    match = _SECRET.fullmatch(secret)
    if match is None:
        return None
    key = session.scalar(select(ApiKey).where(ApiKey.prefix == f"ttm_{match[1]}"))
    # Compared in constant time, so that the response time reveals nothing about the secret.
    if key is None or not hmac.compare_digest(key.sha256, _hash(secret)):
        return None
    return key if _is_valid(session, key) else None


def get_valid(session: Session, key_id: str) -> ApiKey | None:
    """Returns a key by its id; None if it is unknown, revoked or expired."""
    key = session.get(ApiKey, key_id)
    return key if key is not None and _is_valid(session, key) else None


def should_record_use(session: Session, key: ApiKey) -> bool:
    """Whether the last recorded use is old enough to record another."""
    return key.last_used_at is None or key.last_used_at <= now(session) - _USE_INTERVAL


def record_use(session: Session, key_id: str) -> None:
    """Records the current time as the key's last use."""
    session.get_one(ApiKey, key_id).last_used_at = now(session)


def any_valid(session: Session) -> bool:
    """Whether a valid key exists."""
    valid = (ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now(session)))
    return session.scalar(select(ApiKey.id).where(*valid).limit(1)) is not None


def any_ever(session: Session) -> bool:
    """Whether a key exists, including revoked and expired ones."""
    return session.scalar(select(ApiKey.id).limit(1)) is not None


def delete_all(session: Session) -> int:
    """Deletes the keys of all projects, which opens a service on a loopback address again. Returns their number."""
    return len(session.scalars(delete(ApiKey).returning(ApiKey.id)).all())


def list_all(session: Session, *, project_id: str | None = None) -> Sequence[ApiKey]:
    """Returns the keys of a project or of all projects, oldest first, including revoked and expired ones."""
    query = select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)
    return session.scalars(query if project_id is None else query.where(ApiKey.project_id == project_id)).all()


def revoke(session: Session, key_id: str) -> ApiKey:
    """Revokes a key. Raises KeyNotFound."""
    key = session.get(ApiKey, key_id)
    if key is None:
        raise KeyNotFound
    key.revoked_at = key.revoked_at or now(session)
    return key


def _is_valid(session: Session, key: ApiKey) -> bool:
    expired = key.expires_at is not None and key.expires_at <= now(session)
    return not expired and key.revoked_at is None


def _hash(secret: str) -> str:
    # A fast hash is enough for 256 random bits. Slow hashes are for passwords.
    return sha256(secret.encode()).hexdigest()
