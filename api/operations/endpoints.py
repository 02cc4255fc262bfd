"""Routes of workers, teacher stores and usage."""

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
    """The active workers, with their devices and current jobs."""
    with read_scope(engine) as session:
        return service.worker_list(session, settings)


@router.get(
    "/teacher-stores",
    operation_id="stores_list",
    summary="List the teacher stores",
    responses=problems(InvalidRequest, InvalidCursor),
)
def stores_list(engine: EngineDep, limit: Limit = 50, cursor: CursorParameter = None) -> StorePage:
    """Stores of teacher logits on workers' disks that jobs of the project have used, most recently used first. Stores
    that were deleted from every disk are not listed."""
    with read_scope(engine) as session:
        return service.store_page(session, limit=limit, cursor=cursor)


@router.get("/usage", operation_id="usage_get", summary="Show the project's usage")
def usage_get(engine: EngineDep) -> UsageOut:
    """Jobs, stored bytes and device hours, with the project's limits."""
    with read_scope(engine) as session:
        return service.usage(session)
