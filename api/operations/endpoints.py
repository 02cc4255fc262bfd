"""Routes of workers, teacher stores and use."""

from fastapi import APIRouter

from api.dependencies import EngineDep, SettingsDep
from api.http.errors import InvalidCursor, InvalidRequest
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.operations import service
from api.operations.schemas import StorePage, UsageOut, WorkerList
from ttm_jobs.database.engine import read_scope

router = APIRouter(tags=["operations"])


@router.get("/workers", operation_id="workers_list", summary="List the workers")
def workers_list(engine: EngineDep, settings: SettingsDep) -> WorkerList:
    """Those heard of lately, with their devices and what they are at."""
    with read_scope(engine) as session:
        return service.worker_list(session, settings)


@router.get(
    "/teacher-stores",
    operation_id="stores_list",
    summary="List the teacher stores",
    responses=problems(InvalidRequest, InvalidCursor),
)
def stores_list(engine: EngineDep, limit: Limit = 50, cursor: CursorParameter = None) -> StorePage:
    """Teachers' logits on workers' disks that jobs of the project filled or read, the most recently used first. One
    that was pruned from every disk is not listed."""
    with read_scope(engine) as session:
        return service.store_page(session, limit=limit, cursor=cursor)


@router.get("/usage", operation_id="usage_get", summary="Show what the project uses")
def usage_get(engine: EngineDep) -> UsageOut:
    """Jobs, stored bytes and device hours, beside the project's limits."""
    with read_scope(engine) as session:
        return service.usage(session)
