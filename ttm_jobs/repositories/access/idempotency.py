"""Requests that name themselves, and what they were answered. The answer is committed with what the request did, so
that a crash leaves both or neither.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import IdempotencyKeyReused, RequestInFlight
from ttm_jobs.models import IdempotencyKey

_KEPT = timedelta(hours=24)


@dataclass(frozen=True)
class StoredResponse:
    """What a request was answered."""

    status: int
    location: str | None
    body: bytes


def answered(session: Session, key: str, request: str) -> StoredResponse | None:
    """The answer to an earlier request of this key, within a day; None if this is the first. `request` is its SHA-256.

    IdempotencyKeyReused if the earlier one was another request, RequestInFlight while one is being answered. SQLite
    has one writer at a time: there the second waits for the first, and is given its answer.
    """
    project_id = project_of(session)
    if session.get_bind().dialect.name == "postgresql":
        lock = func.pg_try_advisory_xact_lock(func.hashtextextended(f"{project_id} {key}", 0))
        if not session.scalar(select(lock)):
            raise RequestInFlight
    row = session.get(IdempotencyKey, (project_id, key))
    if row is None or row.created_at <= now(session) - _KEPT:
        return None
    if row.request != request:
        raise IdempotencyKeyReused
    return StoredResponse(row.status, row.location, row.body)


def record(session: Session, key: str, request: str, answer: StoredResponse) -> None:
    """Keeps the answer for a day, and forgets some that are older."""
    at = now(session)
    old = select(IdempotencyKey.key).where(IdempotencyKey.created_at <= at - _KEPT).limit(100)
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.key.in_(old), IdempotencyKey.created_at <= at - _KEPT))
    session.add(
        IdempotencyKey(
            project_id=project_of(session),
            key=key,
            request=request,
            status=answer.status,
            location=answer.location,
            body=answer.body,
            created_at=at,
        )
    )
