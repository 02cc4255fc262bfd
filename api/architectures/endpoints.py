"""Routes of architectures."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.architectures import service
from api.architectures.schemas import ArchitectureOut, ArchitecturePage
from api.architectures.service import ArchitectureNotFound
from api.dependencies import EngineDep, SettingsDep
from api.http.errors import InvalidCursor, InvalidRequest
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from ttm_jobs.database.engine import read_scope

router = APIRouter(prefix="/architectures", tags=["architectures"])


@router.get(
    "",
    operation_id="architectures_list",
    summary="Search the architectures",
    responses=problems(InvalidRequest, InvalidCursor),
)
def architectures_list(
    engine: EngineDep,
    settings: SettingsDep,
    q: Annotated[str, Query(max_length=128, description="Words that must all occur in the name.")] = "",
    family: Annotated[
        str | None, Query(max_length=128, description="Only architectures of this family, such as `resnet`.")
    ] = None,
    limit: Limit = 50,
    cursor: CursorParameter = None,
) -> ArchitecturePage:
    """The model architectures that the service can train, with parameters, MACs and input size. Those of packages are
    listed while a worker that has the package is running.
    """
    with read_scope(engine) as session:
        return service.page(session, settings, query=q, family=family, limit=limit, cursor=cursor)


@router.get(
    "/{name:path}",
    operation_id="architectures_get",
    summary="Show an architecture",
    responses=problems(ArchitectureNotFound),
)
def architectures_get(
    engine: EngineDep, settings: SettingsDep, name: Annotated[str, Path(max_length=128)]
) -> ArchitectureOut:
    """An architecture by its exact name. The error for an unknown name suggests similar names."""
    with read_scope(engine) as session:
        return service.get(session, settings, name)
