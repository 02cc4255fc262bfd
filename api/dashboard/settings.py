"""Pages of a project's settings: API keys and webhooks."""

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from api.dashboard.pages import page
from api.dependencies import CallerDep, EngineDep
from api.keys import service as keys
from api.webhooks import service as webhooks
from ttm_jobs.database.engine import read_scope
from ttm_jobs.models import Scope

router = APIRouter()

_DELIVERIES = 20


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


@router.get("/ui/webhooks")
def webhooks_page(engine: EngineDep, caller: CallerDep) -> HTMLResponse:
    """The project's webhooks with their latest deliveries."""
    with read_scope(engine) as session:
        items = webhooks.list_all(session).items
        latest = {
            each.id: webhooks.deliveries(session, each.id, limit=_DELIVERIES, cursor=None).items for each in items
        }
    return page("webhooks.html", webhooks=items, deliveries=latest, may_change=caller.scope.includes(Scope.ADMIN))
