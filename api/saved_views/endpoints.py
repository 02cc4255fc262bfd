"""Routes of saved views."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import EngineDep
from api.http.errors import InvalidRequest
from api.http.json_bodies import BODY_ERRORS, JsonRoute
from api.http.problems import problems
from api.saved_views import service
from api.saved_views.schemas import ViewList, ViewName, ViewOut, ViewPage, ViewRequest
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import TooManyViews, ViewNotFound
from ttm_jobs.repositories.dashboard import saved_views

router = APIRouter(prefix="/views", tags=["views"], route_class=JsonRoute)


@router.get("", operation_id="views_list", summary="List the saved views", responses=problems(InvalidRequest))
def views_list(
    engine: EngineDep, page: Annotated[ViewPage | None, Query(description="Only of this list.")] = None
) -> ViewList:
    """The views of the jobs and studies lists that the project's people saved, by page and name."""
    with read_scope(engine) as session:
        return service.list_all(session, page)


@router.put(
    "/{page}/{name:path}",
    operation_id="views_save",
    summary="Save a view",
    responses=problems(TooManyViews, InvalidRequest, *BODY_ERRORS),
)
def views_save(page: ViewPage, name: ViewName, request: ViewRequest, engine: EngineDep) -> ViewOut:
    """Saves filters, order and groups of a list under a name. A view with the same name is changed."""
    with session_scope(engine) as session:
        return service.save(session, page, name, request.query)


@router.delete(
    "/{page}/{name:path}",
    operation_id="views_delete",
    summary="Delete a saved view",
    status_code=204,
    responses=problems(ViewNotFound, InvalidRequest),
)
def views_delete(page: ViewPage, name: ViewName, engine: EngineDep) -> None:
    """Deletes a view for everybody in the project."""
    with session_scope(engine) as session:
        saved_views.remove(session, page, name)
