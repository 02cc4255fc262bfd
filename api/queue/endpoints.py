"""Routes of the queues."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import EngineDep, ServicesDep, SettingsDep
from api.http.errors import InvalidCursor, InvalidRequest
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.http.types import NoControls
from api.queue import service
from api.queue.schemas import QueueOut, WaitingPage
from ttm_jobs.database.engine import read_scope

router = APIRouter(tags=["operations"])


@router.get("/queue", operation_id="queue_get", summary="Show the queues")
def queue_get(engine: EngineDep, services: ServicesDep) -> QueueOut:
    """Queued and running jobs of the project, the age of the oldest queued job, and the project's position in each
    queue.
    """
    # The position depends on all projects. Only the number of other projects is returned.
    with read_scope(engine) as session, read_scope(services.engine) as all_projects:
        return service.overview(session, all_projects, services.settings)


@router.get(
    "/queue/jobs",
    operation_id="queue_jobs",
    summary="List queued jobs in scheduling order",
    responses=problems(InvalidRequest, InvalidCursor),
)
def queue_jobs(
    engine: EngineDep,
    settings: SettingsDep,
    queue: Annotated[
        str | None,
        Query(max_length=64, description="Name of the queue. Default: the service's first queue."),
        NoControls,
    ] = None,
    limit: Limit = 50,
    cursor: CursorParameter = None,
) -> WaitingPage:
    """The project's queued jobs in the order in which workers claim them, each with the reason why it is blocked."""
    with read_scope(engine) as session:
        return service.page(session, settings, queue or settings.queues[0], limit=limit, cursor=cursor)
