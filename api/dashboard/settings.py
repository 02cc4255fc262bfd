"""Pages of a project's settings: API keys, webhooks and the audit log."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from api.audit import service as audit
from api.dashboard.jobs.table import Query as Address
from api.dashboard.pages import PageRoute, page
from api.dependencies import CallerDep, EngineDep
from api.http.pagination import CursorParameter
from api.http.types import NoControls
from api.keys import service as keys
from api.webhooks import service as webhooks
from ttm_jobs.database.engine import read_scope
from ttm_jobs.models import Scope
from ttm_jobs.repositories.access.audit import AuditFilters

router = APIRouter(route_class=PageRoute)

_DELIVERIES = 20
_ROWS = 50
Filter = Annotated[str, Query(max_length=100), NoControls]


@router.get("/ui/keys")
def keys_page(engine: EngineDep, caller: CallerDep) -> HTMLResponse:
    """The project's API keys. Requires scope `admin`."""
    if not caller.scope.includes(Scope.ADMIN):
        return page("keys.html", 403, keys=None, scopes=())
    with read_scope(engine) as session:
        items = keys.list_all(session).items
        # The first key must be an admin key: otherwise nobody could create or revoke keys on the pages.
        preselected = Scope.ADMIN if caller.is_anonymous else Scope.SUBMIT
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


@router.get("/ui/audit")
def audit_page(
    request: Request,
    engine: EngineDep,
    caller: CallerDep,
    actor: Filter = "",
    action: Filter = "",
    object: Filter = "",
    cursor: CursorParameter = None,
) -> HTMLResponse:
    """Who changed what. Requires scope `admin`."""
    if not caller.scope.includes(Scope.ADMIN):
        return page("audit.html", 403, page=None)
    fields = {"actor": actor, "action": action, "object": object}
    filters = AuditFilters(actor=actor or None, action=action or None, object=object or None)
    with read_scope(engine) as session:
        found = audit.page(session, filters, limit=_ROWS, cursor=cursor)
    address = Address.of(request)
    return page("audit.html", page=found, fields=fields, query=address)
