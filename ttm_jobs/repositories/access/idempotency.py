"""Idempotency keys and their stored responses. The response is committed in the transaction of the request."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import IdempotencyKeyReused, RequestInFlight
from ttm_jobs.models import IdempotencyKey

_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True)
class StoredResponse:
    """The response to a request."""

    status: int
    location: str | None
    body: str


def find(session: Session, key: str, request: str) -> StoredResponse | None:
    """Returns the stored response of an earlier request with this key within a day; None for the first request.

    `request` is the SHA-256 of the request. Raises IdempotencyKeyReused if the key belongs to another request, and
    RequestInFlight while one is processed. On SQLite, which has one writer, the second request waits instead.
    """
    project_id = project_of(session)
    if session.get_bind().dialect.name == "postgresql":
        lock = func.pg_try_advisory_xact_lock(func.hashtextextended(f"{project_id} {key}", 0))
        if not session.scalar(select(lock)):
            raise RequestInFlight
    row = session.get(IdempotencyKey, (project_id, key))
    if row is None or row.created_at <= now(session) - _LIFETIME:
        return None
    if row.request != request:
        raise IdempotencyKeyReused
    return StoredResponse(row.status, row.location, row.body)


def record(session: Session, key: str, request: str, response: StoredResponse) -> None:
    """Stores the response for a day, and deletes some expired ones."""
    at, project_id = now(session), project_of(session)
    old = select(IdempotencyKey.key).where(IdempotencyKey.created_at <= at - _LIFETIME).limit(100)
    session.execute(
        delete(IdempotencyKey).where(IdempotencyKey.key.in_(old), IdempotencyKey.created_at <= at - _LIFETIME)
    )
    # A request may use its key again after a day. Its old response need not be among those deleted above.
    session.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.project_id == project_id,
            IdempotencyKey.key == key,
            IdempotencyKey.created_at <= at - _LIFETIME,
        )
    )
    session.add(
        IdempotencyKey(
            project_id=project_id,
            key=key,
            request=request,
            status=response.status,
            location=response.location,
            body=response.body,
            created_at=at,
        )
    )
