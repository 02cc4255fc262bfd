"""Decisions about keys."""

from typing import Any

from sqlalchemy.orm import Session

from api.http.problems import FieldError, Refusal
from api.keys.schemas import KeyList, KeyOut, KeyRequest, NewKeyOut
from ttm_jobs.database.clock import now
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import Invalid
from ttm_jobs.models import ApiKey
from ttm_jobs.repositories.access import keys


class ExpiryPassed(Invalid):
    """The time at which the key is to expire lies in the past."""

    code = "expiry_passed"


def create(session: Session, request: KeyRequest) -> NewKeyOut:
    """A key of the caller's project, with its secret. Refusal for one that would have expired."""
    if request.expires_at is not None and request.expires_at <= now(session):
        error = ExpiryPassed()
        raise Refusal((error, FieldError(pointer="/expires_at", detail=error.message)))
    new = keys.create(
        session,
        project_id=project_of(session),
        name=request.name,
        scope=request.scope,
        expires_at=request.expires_at,
    )
    return NewKeyOut(**_fields(new.key), secret=new.secret)


def every(session: Session) -> KeyList:
    """The keys of the caller's project."""
    return KeyList(items=[KeyOut(**_fields(key)) for key in keys.list_all(session)])


def revoke(session: Session, key_id: str) -> None:
    """KeyNotFound."""
    keys.revoke(session, key_id)


def _fields(key: ApiKey) -> dict[str, Any]:
    names = ("id", "name", "prefix", "scope", "created_at", "expires_at", "revoked_at", "last_used_at")
    return {"project": key.project_id, **{name: getattr(key, name) for name in names}}
