"""Pages of models and data: registered teachers and datasets, uploads, architectures and recipes."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from api.architectures import service as architectures
from api.dashboard.jobs.table import Query as Address
from api.dashboard.pages import PageRoute, page
from api.dependencies import EngineDep, SettingsDep
from api.http.pagination import CursorParameter
from api.http.types import NoControls
from api.recipes import service as recipes
from api.registry import service as registry
from api.uploads import service as uploads
from ttm_jobs.database.engine import read_scope

router = APIRouter(route_class=PageRoute)

Search = Annotated[str, Query(max_length=128), NoControls]
_ROWS = 100


@router.get("/ui/teachers")
def teachers_page(request: Request, engine: EngineDep, q: Search = "", cursor: CursorParameter = None) -> HTMLResponse:
    """The registered teachers, by name."""
    return _registry_page(request, engine, registry.TEACHERS, q, cursor)


@router.get("/ui/datasets")
def datasets_page(request: Request, engine: EngineDep, q: Search = "", cursor: CursorParameter = None) -> HTMLResponse:
    """The registered datasets, by name."""
    return _registry_page(request, engine, registry.DATASETS, q, cursor)


@router.get("/ui/uploads")
def uploads_page(request: Request, engine: EngineDep, cursor: CursorParameter = None) -> HTMLResponse:
    """The uploaded files, newest first."""
    with read_scope(engine) as session:
        found = uploads.page(session, limit=_ROWS, cursor=cursor)
    return page("uploads.html", page=found, query=Address.of(request))


@router.get("/ui/architectures")
def architectures_page(
    request: Request,
    engine: EngineDep,
    settings: SettingsDep,
    q: Search = "",
    family: Search = "",
    cursor: CursorParameter = None,
) -> HTMLResponse:
    """The catalogue of architectures, with parameters and MACs."""
    with read_scope(engine) as session:
        found = architectures.page(session, settings, query=q, family=family or None, limit=_ROWS, cursor=cursor)
    return page(
        "architectures.html",
        page=found,
        q=q,
        family=family,
        query=Address.of(request),
    )


@router.get("/ui/recipes")
def recipes_page(request: Request, q: Search = "", cursor: CursorParameter = None) -> HTMLResponse:
    """Recipes: published runs that a job can start from."""
    return page("recipes.html", page=recipes.page(query=q, limit=_ROWS, cursor=cursor), q=q, query=Address.of(request))


def _registry_page(
    request: Request, engine: EngineDep, of: registry.Registry, q: str, cursor: str | None
) -> HTMLResponse:
    with read_scope(engine) as session:
        found = registry.names(of, session, limit=_ROWS, cursor=cursor, containing=q)
    return page("registry.html", kind=of.kind, page=found, q=q, query=Address.of(request))
