"""Pages of who works and who may ask: workers, queue, use and keys."""

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from api.dashboard.pages import page
from api.dependencies import CallerDep, EngineDep, SettingsDep
from api.keys import service as keys
from api.operations import service
from ttm_jobs.database import read_scope
from ttm_jobs.models import Scope

router = APIRouter()


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


@router.get("/ui/keys")
def keys_page(engine: EngineDep, caller: CallerDep) -> HTMLResponse:
    """The project's keys, for an admin."""
    if not caller.scope.includes(Scope.ADMIN):
        return page("keys.html", 403, keys=None, scopes=())
    with read_scope(engine) as session:
        return page("keys.html", keys=keys.every(session).items, scopes=list(Scope))
