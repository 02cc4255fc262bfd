"""Routes of API keys."""

from fastapi import APIRouter

from api.dependencies import AdminDep, EngineDep, ServicesDep
from api.http.errors import InvalidRequest
from api.http.json_bodies import BODY_ERRORS, JsonRoute
from api.http.problems import problems
from api.http.types import KeyId
from api.keys import service
from api.keys.schemas import KeyList, KeyRequest, NewKeyOut
from api.keys.service import ExpiryPassed, FirstKeyNotAdmin
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import Forbidden, KeyNotFound

router = APIRouter(prefix="/keys", tags=["keys"], route_class=JsonRoute)


@router.get("", operation_id="keys_list", summary="List the project's API keys", responses=problems(Forbidden))
def keys_list(caller: AdminDep, engine: EngineDep) -> KeyList:
    """All keys, including revoked and expired ones, oldest first. Requires scope `admin`."""
    with read_scope(engine) as session:
        return service.list_all(session)


@router.post(
    "",
    operation_id="keys_create",
    summary="Create an API key",
    status_code=201,
    responses=problems(Forbidden, FirstKeyNotAdmin, ExpiryPassed, InvalidRequest, *BODY_ERRORS),
)
def keys_create(request: KeyRequest, caller: AdminDep, engine: EngineDep, services: ServicesDep) -> NewKeyOut:
    """Creates a key for the project of the request's key. The secret is returned only once, so this operation does not
    support `Idempotency-Key`. A first key that is created without credentials must have
    scope `admin`. Requires scope `admin`."""
    with session_scope(engine) as session:
        key = service.create(session, request, anonymous=caller.is_anonymous)
    services.callers.clear_cache()
    return key


@router.delete(
    "/{key_id}",
    operation_id="keys_revoke",
    summary="Revoke an API key",
    status_code=204,
    responses=problems(Forbidden, KeyNotFound),
)
def keys_revoke(key_id: KeyId, caller: AdminDep, engine: EngineDep, services: ServicesDep) -> None:
    """Revokes a key. Other processes of the service may accept it for five more seconds. Revoking a revoked key has no
    effect. Requires scope `admin`."""
    with session_scope(engine) as session:
        service.revoke(session, key_id)
    services.callers.clear_cache()
