"""Routes of the audit log."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import StreamingResponse

from api.audit import service
from api.audit.schemas import AuditPage
from api.dependencies import AdminDep, EngineDep
from api.http.errors import InvalidCursor, InvalidRequest
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.http.types import NoControls, UtcDatetime
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import Forbidden
from ttm_jobs.repositories.access.audit import AuditFilters

router = APIRouter(prefix="/audit", tags=["audit"])

_NDJSON = "application/x-ndjson"


async def _filters(
    actor: Annotated[
        str | None,
        Query(max_length=255, description="Only changes by the key or person with this id or name."),
        NoControls,
    ] = None,
    action: Annotated[
        str | None, Query(max_length=64, description="Only this operation, such as `jobs_cancel`."), NoControls
    ] = None,
    object: Annotated[str | None, Query(max_length=512, description="Only changes of this object."), NoControls] = None,
    after: Annotated[UtcDatetime | None, Query(description="Only changes at or after this time.")] = None,
    before: Annotated[UtcDatetime | None, Query(description="Only changes before this time.")] = None,
) -> AuditFilters:
    return AuditFilters(actor=actor, action=action, object=object, after=after, before=before)


_FiltersDep = Annotated[AuditFilters, Depends(_filters)]


@router.get(
    "",
    operation_id="audit_list",
    summary="List the project's audit log",
    responses=problems(Forbidden, InvalidRequest, InvalidCursor),
)
def audit_list(
    caller: AdminDep, engine: EngineDep, filters: _FiltersDep, limit: Limit = 50, cursor: CursorParameter = None
) -> AuditPage:
    """The changes that requests made, newest first. An entry is committed together with its change. Requires scope
    `admin`."""
    with read_scope(engine) as session:
        return service.page(session, filters, limit=limit, cursor=cursor)


@router.get(
    "/export",
    operation_id="audit_export",
    summary="Export the project's audit log",
    response_class=StreamingResponse,
    responses={
        200: {"content": {_NDJSON: {"schema": {"type": "string"}}}, "description": "One entry per line."},
        **problems(Forbidden, InvalidRequest),
    },
)
def audit_export(caller: AdminDep, engine: EngineDep, filters: _FiltersDep) -> StreamingResponse:
    """All entries that match the filters as JSON lines, newest first. Requires scope `admin`."""
    return StreamingResponse(service.export(engine, filters), media_type=_NDJSON)
