"""Pages of the fleet: workers, usage, queue, devices and teacher stores."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from api.dashboard.jobs.table import Query as Address
from api.dashboard.pages import PageRoute, page
from api.dependencies import EngineDep, ServicesDep, SettingsDep
from api.devices import service as devices
from api.http.pagination import CursorParameter
from api.http.types import NoControls
from api.operations import service
from api.queue import service as queue
from ttm_jobs.database.engine import read_scope

router = APIRouter(route_class=PageRoute)

_ROWS = 50


@router.get("/ui/workers")
def workers_page(engine: EngineDep, settings: SettingsDep) -> HTMLResponse:
    """Active workers and the project's usage."""
    with read_scope(engine) as session:
        return page(
            "workers.html",
            workers=service.worker_list(session, settings).items,
            usage=service.usage(session),
        )


@router.get("/ui/queue")
def queue_page(
    request: Request,
    engine: EngineDep,
    services: ServicesDep,
    name: Annotated[str, Query(alias="queue", max_length=64), NoControls] = "",
    cursor: CursorParameter = None,
) -> HTMLResponse:
    """Queued jobs in scheduling order."""
    settings = services.settings
    with read_scope(engine) as session, read_scope(services.engine) as all_projects:
        overview = queue.overview(session, all_projects, settings)
        # By default the longest queue.
        chosen = name or max(overview.queues, key=lambda each: each.depth).name
        waiting = queue.page(session, settings, chosen, limit=_ROWS, cursor=cursor)
    return page(
        "queue.html",
        overview=overview,
        stats=next((each for each in overview.queues if each.name == chosen), None),
        page=waiting,
        chosen=chosen,
        now=datetime.now(UTC),
        query=Address.of(request),
    )


@router.get("/ui/stores")
def stores_page(request: Request, engine: EngineDep, cursor: CursorParameter = None) -> HTMLResponse:
    """Stored logits of teachers."""
    with read_scope(engine) as session:
        return page(
            "stores.html",
            page=service.store_page(session, limit=_ROWS, cursor=cursor),
            query=Address.of(request),
        )


@router.get("/ui/devices")
def devices_page(engine: EngineDep) -> HTMLResponse:
    """Devices whose latency was measured, by the workers or by `ttm bench`."""
    with read_scope(engine) as session:
        return page("devices.html", devices=devices.list_all(session).items)
