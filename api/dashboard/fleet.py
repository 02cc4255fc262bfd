"""Pages for operators: queue, workers, usage, teacher stores and API keys."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from api.dashboard.jobs.table import Query as Address
from api.dashboard.pages import page
from api.dependencies import CallerDep, EngineDep, ServicesDep, SettingsDep
from api.http.pagination import CursorParameter
from api.keys import service as keys
from api.operations import service
from api.queue import service as queue
from ttm_jobs.database.engine import read_scope
from ttm_jobs.models import Scope

router = APIRouter()

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
    name: Annotated[str, Query(alias="queue", max_length=64)] = "",
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
        query=Address(request.url, request.query_params.multi_items()),
    )


@router.get("/ui/stores")
def stores_page(request: Request, engine: EngineDep, cursor: CursorParameter = None) -> HTMLResponse:
    """Stored logits of teachers."""
    with read_scope(engine) as session:
        return page(
            "stores.html",
            page=service.store_page(session, limit=_ROWS, cursor=cursor),
            query=Address(request.url, request.query_params.multi_items()),
        )


@router.get("/ui/keys")
def keys_page(engine: EngineDep, caller: CallerDep) -> HTMLResponse:
    """The project's API keys. Requires scope `admin`."""
    if not caller.scope.includes(Scope.ADMIN):
        return page("keys.html", 403, keys=None, scopes=())
    with read_scope(engine) as session:
        items = keys.list_all(session).items
        # The first key must be an admin key: otherwise nobody could create or revoke keys on the pages.
        preselected = Scope.ADMIN if caller.key_id is None else Scope.SUBMIT
        return page("keys.html", keys=items, scopes=list(Scope), preselected=preselected)
