"""Routes of named teachers and datasets."""

from typing import Annotated

from fastapi import APIRouter, Body, Path
from starlette.responses import Response

from api.dependencies import EngineDep, SettingsDep
from api.http.errors import InputNotFound, InvalidCursor, InvalidRequest
from api.http.idempotency import OnceDep, located
from api.http.json_bodies import BODY_REFUSALS, JsonRoute
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.registry import service
from api.registry.references import path_of
from api.registry.schemas import DatasetOut, DatasetPage, DatasetRequest, TeacherOut, TeacherPage, TeacherRequest
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import (
    DatasetNotFound,
    IdempotencyKeyReused,
    JobNotFinished,
    RequestInFlight,
    TeacherNotFound,
    UploadNotComplete,
    UriNotAllowed,
)
from ttm_jobs.repositories import registry

teachers = APIRouter(prefix="/teachers", tags=["teachers"], route_class=JsonRoute)
datasets = APIRouter(prefix="/datasets", tags=["datasets"], route_class=JsonRoute)

_REFUSALS = problems(
    InvalidRequest,
    UriNotAllowed,
    InputNotFound,
    JobNotFinished,
    UploadNotComplete,
    IdempotencyKeyReused,
    RequestInFlight,
    *BODY_REFUSALS,
)
# Of any form: a name that nothing can have is a name that nothing has.
Name = Annotated[str, Path(description="The name, without a version.", max_length=200)]
Version = Annotated[int, Path(ge=1, lt=2**31, description="The number of the version.")]


def _location(made: TeacherOut | DatasetOut) -> str:
    return path_of(made.uri) or ""


@teachers.post(
    "",
    operation_id="teachers_create",
    summary="Name a teacher, or add a version to a name",
    status_code=201,
    response_model=TeacherOut,
    responses=located("the version") | _REFUSALS,
)
def teachers_create(
    request: Annotated[TeacherRequest, Body()], once: OnceDep, engine: EngineDep, settings: SettingsDep
) -> Response:
    """A job then says `"teacher": "teacher:NAME"`, or `teacher:NAME@VERSION`, with other fields beside it as it likes.
    The job records the version and what it stood for."""
    return once.answer(engine, request, lambda session: service.add_teacher(session, settings, request), _location)


@teachers.get(
    "",
    operation_id="teachers_list",
    summary="List the project's teachers",
    responses=problems(InvalidRequest, InvalidCursor),
)
def teachers_list(engine: EngineDep, limit: Limit = 50, cursor: CursorParameter = None) -> TeacherPage:
    """The newest version of each name, in order of the names."""
    with read_scope(engine) as session:
        page = service.names(session, "teacher", service.teacher, limit=limit, cursor=cursor)
    return TeacherPage(**dict(page))


@teachers.get("/{name}", operation_id="teachers_get", summary="Show a teacher", responses=problems(TeacherNotFound))
def teachers_get(name: Name, engine: EngineDep) -> TeacherOut:
    """Its newest version."""
    with read_scope(engine) as session:
        return service.teacher(registry.get(session, "teacher", name))


@teachers.get(
    "/{name}/versions",
    operation_id="teachers_versions",
    summary="List the versions of a teacher",
    responses=problems(TeacherNotFound, InvalidRequest, InvalidCursor),
)
def teachers_versions(name: Name, engine: EngineDep, limit: Limit = 50, cursor: CursorParameter = None) -> TeacherPage:
    """Newest first."""
    with read_scope(engine) as session:
        page = service.versions(session, "teacher", name, service.teacher, limit=limit, cursor=cursor)
    return TeacherPage(**dict(page))


@teachers.get(
    "/{name}/versions/{version}",
    operation_id="teachers_version",
    summary="Show a version of a teacher",
    responses=problems(TeacherNotFound),
)
def teachers_version(name: Name, version: Version, engine: EngineDep) -> TeacherOut:
    """As it was made: a version never changes."""
    with read_scope(engine) as session:
        return service.teacher(registry.get(session, "teacher", name, version))


@teachers.delete(
    "/{name}/versions/{version}",
    operation_id="teachers_delete",
    summary="Remove a version of a teacher",
    status_code=204,
    responses=problems(TeacherNotFound),
)
def teachers_delete(name: Name, version: Version, engine: EngineDep) -> None:
    """Jobs that were made from it keep what it stood for, and its number is not given again."""
    with session_scope(engine) as session:
        registry.remove(session, "teacher", name, version)


@datasets.post(
    "",
    operation_id="datasets_create",
    summary="Name a dataset, or add a version to a name",
    status_code=201,
    response_model=DatasetOut,
    responses=located("the version") | _REFUSALS,
)
def datasets_create(
    request: Annotated[DatasetRequest, Body()], once: OnceDep, engine: EngineDep, settings: SettingsDep
) -> Response:
    """A job then says `"dataset": "dataset:NAME"`, or `dataset:NAME@VERSION`, with other fields beside it as it likes.
    The job records the version and what it stood for."""
    return once.answer(engine, request, lambda session: service.add_dataset(session, settings, request), _location)


@datasets.get(
    "",
    operation_id="datasets_list",
    summary="List the project's datasets",
    responses=problems(InvalidRequest, InvalidCursor),
)
def datasets_list(engine: EngineDep, limit: Limit = 50, cursor: CursorParameter = None) -> DatasetPage:
    """The newest version of each name, in order of the names."""
    with read_scope(engine) as session:
        page = service.names(session, "dataset", service.dataset, limit=limit, cursor=cursor)
    return DatasetPage(**dict(page))


@datasets.get("/{name}", operation_id="datasets_get", summary="Show a dataset", responses=problems(DatasetNotFound))
def datasets_get(name: Name, engine: EngineDep) -> DatasetOut:
    """Its newest version."""
    with read_scope(engine) as session:
        return service.dataset(registry.get(session, "dataset", name))


@datasets.get(
    "/{name}/versions",
    operation_id="datasets_versions",
    summary="List the versions of a dataset",
    responses=problems(DatasetNotFound, InvalidRequest, InvalidCursor),
)
def datasets_versions(name: Name, engine: EngineDep, limit: Limit = 50, cursor: CursorParameter = None) -> DatasetPage:
    """Newest first."""
    with read_scope(engine) as session:
        page = service.versions(session, "dataset", name, service.dataset, limit=limit, cursor=cursor)
    return DatasetPage(**dict(page))


@datasets.get(
    "/{name}/versions/{version}",
    operation_id="datasets_version",
    summary="Show a version of a dataset",
    responses=problems(DatasetNotFound),
)
def datasets_version(name: Name, version: Version, engine: EngineDep) -> DatasetOut:
    """As it was made: a version never changes."""
    with read_scope(engine) as session:
        return service.dataset(registry.get(session, "dataset", name, version))


@datasets.delete(
    "/{name}/versions/{version}",
    operation_id="datasets_delete",
    summary="Remove a version of a dataset",
    status_code=204,
    responses=problems(DatasetNotFound),
)
def datasets_delete(name: Name, version: Version, engine: EngineDep) -> None:
    """Jobs that were made from it keep what it stood for, and its number is not given again."""
    with session_scope(engine) as session:
        registry.remove(session, "dataset", name, version)
