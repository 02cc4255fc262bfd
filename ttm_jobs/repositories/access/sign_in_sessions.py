"""Sessions of the dashboard: start, find by token, end, expire."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256

from sqlalchemy import CursorResult, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import SignInSession


class StateUsed(Exception):
    """A session was already started with this state."""


def start_for_key(session: Session, *, key_id: str, project_id: str, lifetime: timedelta) -> str:
    """Starts the session of an API key. Returns its token, which has 32 random bytes."""
    return _start(session, SignInSession(key_id=key_id, project_id=project_id, groups=[]), lifetime)


def start_for_person(
    session: Session,
    *,
    user_id: str,
    name: str,
    groups: Sequence[str],
    project_id: str,
    id_token: str | None,
    state: str,
    lifetime: timedelta,
) -> str:
    """Starts the session of a person. Returns its token. Raises StateUsed at the second use of a state."""
    row = SignInSession(
        user_id=user_id,
        name=name,
        groups=list(groups),
        project_id=project_id,
        id_token=id_token,
        state_sha256=_hash(state),
    )
    try:
        return _start(session, row, lifetime)
    except IntegrityError:
        raise StateUsed from None


def find(session: Session, token: str) -> SignInSession | None:
    """Returns the session of a token; None if it is unknown, ended or expired."""
    row = session.get(SignInSession, _hash(token))
    return row if row is not None and row.ended_at is None and row.expires_at > now(session) else None


def end(session: Session, row: SignInSession) -> None:
    """Ends a session."""
    row.ended_at = now(session)
    row.id_token = None


def delete_expired(session: Session, *, limit: int = 1000) -> int:
    """Deletes at most `limit` expired sessions. Returns their number; 0 when done."""
    old = select(SignInSession.token_sha256).where(SignInSession.expires_at <= now(session)).limit(limit)
    tokens = session.scalars(old).all()
    if not tokens:
        return 0
    removed = session.execute(delete(SignInSession).where(SignInSession.token_sha256.in_(tokens)))
    assert isinstance(removed, CursorResult)
    return removed.rowcount


def _start(session: Session, row: SignInSession, lifetime: timedelta) -> str:
    token = secrets.token_urlsafe(32)
    row.token_sha256 = _hash(token)
    row.created_at = now(session)
    row.expires_at = row.created_at + lifetime
    session.add(row)
    session.flush()
    return token


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
