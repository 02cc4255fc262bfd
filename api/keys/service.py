"""API keys: creation, listing and revocation."""

from typing import Any

from sqlalchemy.orm import Session

from api.http.problems import FieldError, FieldErrors
from api.keys.schemas import KeyList, KeyOut, KeyRequest, NewKeyOut
from ttm_jobs.database.clock import now
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import Invalid
from ttm_jobs.models import ApiKey, Scope
from ttm_jobs.repositories.access import keys


class ExpiryPassed(Invalid):
    """`expires_at` is in the past."""

    code = "expiry_passed"


class FirstKeyNotAdmin(Invalid):
    """The first API key must have scope `admin`: otherwise no key could create or revoke keys."""

    code = "first_key_not_admin"


def create(session: Session, request: KeyRequest, *, anonymous: bool) -> NewKeyOut:
    """Creates a key in the caller's project. Raises FieldErrors with ExpiryPassed or FirstKeyNotAdmin."""
    if request.expires_at is not None and request.expires_at <= now(session):
        error = ExpiryPassed()
        raise FieldErrors((error, FieldError(pointer="/expires_at", detail=error.message)))
    # Once a key exists, anonymous requests are refused, so the first key must be able to create others.
    if anonymous and request.scope is not Scope.ADMIN:
        first = FirstKeyNotAdmin()
        raise FieldErrors((first, FieldError(pointer="/scope", detail=first.message)))
    new = keys.create(
        session,
        project_id=project_of(session),
        name=request.name,
        scope=request.scope,
        expires_at=request.expires_at,
    )
    return NewKeyOut(**_fields(new.key), secret=new.secret)


def list_all(session: Session) -> KeyList:
    """The keys of the caller's project, oldest first."""
    return KeyList(items=[KeyOut(**_fields(key)) for key in keys.list_all(session)])


def revoke(session: Session, key_id: str) -> None:
    """Revokes a key. Raises KeyNotFound."""
    keys.revoke(session, key_id)


def _fields(key: ApiKey) -> dict[str, Any]:
    names = ("id", "name", "prefix", "scope", "created_at", "expires_at", "revoked_at", "last_used_at")
    return {"project": key.project_id, **{name: getattr(key, name) for name in names}}
