"""Routes of the sources that projects may read."""

from fastapi import APIRouter

from api.dependencies import AdminDep, EngineDep, SettingsDep
from api.http.errors import InvalidRequest
from api.http.json_bodies import BODY_ERRORS, JsonRoute
from api.http.problems import problems
from api.projects import service
from api.projects.schemas import ProjectName, SourcesOut, SourcesRequest
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import Forbidden, ProjectNotFound

router = APIRouter(prefix="/projects", tags=["projects"], route_class=JsonRoute)


@router.get(
    "/{project}/sources",
    operation_id="projects_sources",
    summary="Show which sources a project may read",
    responses=problems(Forbidden, ProjectNotFound, InvalidRequest),
)
def projects_sources(project: ProjectName, caller: AdminDep, engine: EngineDep, settings: SettingsDep) -> SourcesOut:
    """The folders, hosts and buckets that the jobs of the project may name. Requires scope `admin` in the project, or
    in the project `default`."""
    with read_scope(engine) as session:
        return service.get(session, project, caller, settings)


@router.put(
    "/{project}/sources",
    operation_id="projects_restrict",
    summary="Restrict a project to some sources",
    responses=problems(Forbidden, InvalidRequest, *BODY_ERRORS),
)
def projects_restrict(
    project: ProjectName, request: SourcesRequest, caller: AdminDep, engine: EngineDep, settings: SettingsDep
) -> SourcesOut:
    """Replaces the list of sources that the jobs of the project may name; an empty list allows none of its kind.
    Creates the project if it does not exist. Queued jobs with other sources fail with `uri_not_allowed` when they
    start; running ones continue. Requires scope `admin` in the project `default`."""
    service.check_operator(caller)
    with session_scope(engine) as session:
        return service.restrict(session, project, request, settings)


@router.delete(
    "/{project}/sources",
    operation_id="projects_unrestrict",
    summary="Allow a project all sources",
    status_code=204,
    responses=problems(Forbidden, ProjectNotFound, InvalidRequest),
)
def projects_unrestrict(project: ProjectName, caller: AdminDep, engine: EngineDep) -> None:
    """Lifts a restriction: the jobs of the project may name all sources of the service. Requires scope `admin` in the
    project `default`."""
    service.check_operator(caller)
    with session_scope(engine) as session:
        service.unrestrict(session, project)
