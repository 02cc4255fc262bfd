"""Routes of the queue."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import EngineDep, ServicesDep, SettingsDep
from api.http.errors import InvalidCursor, InvalidRequest
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.queue import service
from api.queue.schemas import QueueOut, WaitingPage
from ttm_jobs.database.engine import read_scope

router = APIRouter(tags=["operations"])


@router.get("/queue", operation_id="queue_get", summary="Look at the queue")
def queue_get(engine: EngineDep, services: ServicesDep) -> QueueOut:
    """How many jobs of the project wait and run, how long the oldest has waited, and whose turn it is in each queue."""
    # Whose turn it is takes all projects; no more than the number of the others is told.
    with read_scope(engine) as session, read_scope(services.engine) as all_projects:
        return service.overview(session, all_projects, services.settings)


@router.get(
    "/queue/jobs",
    operation_id="queue_jobs",
    summary="List what waits, the next first",
    responses=problems(InvalidRequest, InvalidCursor),
)
def queue_jobs(
    engine: EngineDep,
    settings: SettingsDep,
    queue: Annotated[
        str | None, Query(max_length=64, description="Of this queue; the first of the service's when left out.")
    ] = None,
    limit: Limit = 50,
    cursor: CursorParameter = None,
) -> WaitingPage:
    """The project's jobs in the order in which workers take them, each with what it waits for."""
    with read_scope(engine) as session:
        return service.page(session, settings, queue or settings.queues[0], limit=limit, cursor=cursor)
