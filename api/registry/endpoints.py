"""Routes of registered teachers and datasets. Both have the same routes."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path
from starlette.responses import Response

from api.dependencies import EngineDep, SettingsDep
from api.http.errors import InputNotFound, InvalidCursor, InvalidRequest
from api.http.idempotency import IdempotencyDep, location_header
from api.http.json_bodies import BODY_ERRORS, JsonRoute
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.registry import service
from api.registry.references import path_of
from api.registry.service import DATASETS, TEACHERS, Registry
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import IdempotencyKeyReused, JobNotFinished, RequestInFlight, UploadNotComplete, UriNotAllowed
from ttm_jobs.repositories import registry

_CREATE_ERRORS = problems(
    InvalidRequest,
    UriNotAllowed,
    InputNotFound,
    JobNotFinished,
    UploadNotComplete,
    IdempotencyKeyReused,
    RequestInFlight,
    *BODY_ERRORS,
)
# Not validated further: an invalid name is 404, the same as an unknown name.
Name = Annotated[str, Path(description="Name, without a version.", max_length=200)]
Version = Annotated[int, Path(ge=1, lt=2**31, description="Number of the version.")]


def _make_router(of: Registry) -> APIRouter:
    kind, plural, request_model, page_model = of.kind, f"{of.kind}s", of.request, of.page
    router = APIRouter(prefix=f"/{plural}", tags=[plural], route_class=JsonRoute)

    @router.post(
        "",
        operation_id=f"{plural}_create",
        summary=f"Register a {kind}, or a new version of it",
        description=f"Registers a version of a {kind} under a name. Jobs refer to it as `{kind}:NAME` or "
        f"`{kind}:NAME@VERSION`; other fields of the job's {kind} override those of the version. The job records the "
        "version that was used.",
        status_code=201,
        response_model=of.entry,
        responses=location_header("the version") | _CREATE_ERRORS,
    )
    def create(
        request: Annotated[request_model, Body()],  # type: ignore[valid-type]
        idempotent: IdempotencyDep,
        engine: EngineDep,
        settings: SettingsDep,
    ) -> Response:
        return idempotent.respond(
            engine,
            request,
            lambda session: service.add(of, session, settings, request),
            lambda created: path_of(created.uri) or "",
        )

    @router.get(
        "",
        operation_id=f"{plural}_list",
        summary=f"List the project's {plural}",
        description="The latest version of each name, sorted by name.",
        response_model=page_model,
        responses=problems(InvalidRequest, InvalidCursor),
    )
    def list_names(engine: EngineDep, limit: Limit = 50, cursor: CursorParameter = None) -> Any:
        with read_scope(engine) as session:
            return service.names(of, session, limit=limit, cursor=cursor)

    @router.get(
        "/{name}",
        operation_id=f"{plural}_get",
        summary=f"Show a {kind}",
        description="The latest version.",
        response_model=of.entry,
        responses=problems(of.not_found),
    )
    def get(name: Name, engine: EngineDep) -> Any:
        with read_scope(engine) as session:
            return service.get(of, session, name)

    @router.get(
        "/{name}/versions",
        operation_id=f"{plural}_versions",
        summary=f"List the versions of a {kind}",
        description="All versions, newest first.",
        response_model=page_model,
        responses=problems(of.not_found, InvalidRequest, InvalidCursor),
    )
    def list_versions(name: Name, engine: EngineDep, limit: Limit = 50, cursor: CursorParameter = None) -> Any:
        with read_scope(engine) as session:
            return service.versions(of, session, name, limit=limit, cursor=cursor)

    @router.get(
        "/{name}/versions/{version}",
        operation_id=f"{plural}_version",
        summary=f"Show a version of a {kind}",
        description="One version. Versions are immutable.",
        response_model=of.entry,
        responses=problems(of.not_found),
    )
    def get_version(name: Name, version: Version, engine: EngineDep) -> Any:
        with read_scope(engine) as session:
            return service.get(of, session, name, version)

    @router.delete(
        "/{name}/versions/{version}",
        operation_id=f"{plural}_delete",
        summary=f"Delete a version of a {kind}",
        description="Deletes a version. Existing jobs are not affected, and the version number is not reused.",
        status_code=204,
        responses=problems(of.not_found),
    )
    def delete(name: Name, version: Version, engine: EngineDep) -> None:
        with session_scope(engine) as session:
            registry.remove(session, kind, name, version)

    return router


teachers = _make_router(TEACHERS)
datasets = _make_router(DATASETS)
