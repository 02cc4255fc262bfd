"""Routes of keys."""

from fastapi import APIRouter

from api.dependencies import AdminDep, EngineDep, ServicesDep
from api.http.errors import InvalidRequest
from api.http.json_bodies import BODY_REFUSALS, JsonRoute
from api.http.problems import problems
from api.http.types import KeyId
from api.keys import service
from api.keys.schemas import KeyList, KeyRequest, NewKeyOut
from api.keys.service import ExpiryPassed
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import Forbidden, KeyNotFound

router = APIRouter(prefix="/keys", tags=["keys"], route_class=JsonRoute)


@router.get("", operation_id="keys_list", summary="List the project's keys", responses=problems(Forbidden))
def keys_list(caller: AdminDep, engine: EngineDep) -> KeyList:
    """Those revoked or expired too. MethodRequirements a key of scope admin."""
    with read_scope(engine) as session:
        return service.every(session)


@router.post(
    "",
    operation_id="keys_create",
    summary="Make a key",
    status_code=201,
    responses=problems(Forbidden, ExpiryPassed, InvalidRequest, *BODY_REFUSALS),
)
def keys_create(request: KeyRequest, caller: AdminDep, engine: EngineDep, services: ServicesDep) -> NewKeyOut:
    """For the project of the key that asks. The answer is the only place where the secret is shown, so it is kept
    for no `Idempotency-Key`. MethodRequirements a key of scope admin."""
    with session_scope(engine) as session:
        key = service.create(session, request)
    services.callers.forget()
    return key


@router.delete(
    "/{key_id}",
    operation_id="keys_revoke",
    summary="Revoke a key",
    status_code=204,
    responses=problems(Forbidden, KeyNotFound),
)
def keys_revoke(key_id: KeyId, caller: AdminDep, engine: EngineDep, services: ServicesDep) -> None:
    """It is refused from now on; other processes of the service may take it for five seconds more. Revoking again is
    harmless. MethodRequirements a key of scope admin."""
    with session_scope(engine) as session:
        service.revoke(session, key_id)
    services.callers.forget()
