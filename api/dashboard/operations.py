"""Pages of who works and who may ask: workers, queue, use, teacher stores and keys."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from api.dashboard.pages import page
from api.dashboard.query import Query as Address
from api.dependencies import CallerDep, EngineDep, SettingsDep
from api.keys import service as keys
from api.operations import service
from api.pagination import CursorParameter
from ttm_jobs.database import read_scope
from ttm_jobs.models import Scope

router = APIRouter()

_ROWS = 50


@router.get("/ui/workers")
def workers_page(engine: EngineDep, settings: SettingsDep) -> HTMLResponse:
    """Workers heard of lately, what waits, and what the project uses."""
    with read_scope(engine) as session:
        return page(
            "workers.html",
            workers=service.worker_list(session, settings).items,
            queue=service.queue(session, settings),
            usage=service.usage(session),
        )


@router.get("/ui/stores")
def stores_page(request: Request, engine: EngineDep, cursor: CursorParameter = None) -> HTMLResponse:
    """The teachers' logits that are kept."""
    with read_scope(engine) as session:
        return page(
            "stores.html",
            page=service.store_page(session, limit=_ROWS, cursor=cursor),
            query=Address(request.url, request.query_params.multi_items()),
        )


@router.get("/ui/keys")
def keys_page(engine: EngineDep, caller: CallerDep) -> HTMLResponse:
    """The project's keys, for an admin."""
    if not caller.scope.includes(Scope.ADMIN):
        return page("keys.html", 403, keys=None, scopes=())
    with read_scope(engine) as session:
        return page("keys.html", keys=keys.every(session).items, scopes=list(Scope))
