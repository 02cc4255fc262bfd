"""Routes of damage reports."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from starlette.responses import StreamingResponse

from api.damage import service
from api.damage.schemas import DamageImagePage, DamageOut, ImageSort
from api.damage.service import DamageImageNotFound, DifferentData, NoDamageReport
from api.dependencies import EngineDep, StorageDep
from api.http.conditional_requests import IfNoneMatch, check
from api.http.errors import InvalidCursor, InvalidRequest
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.http.types import JobId, is_id
from ttm_core.spec.damage.schema import Outcome
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import JobNotFinished, JobNotFound

router = APIRouter(prefix="/jobs/{job_id}/damage", tags=["artifacts"])

_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "The ETag in `If-None-Match` is current."}}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_ERRORS = problems(JobNotFound, JobNotFinished, NoDamageReport, DifferentData, InvalidRequest, InvalidCursor)
_IMAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    # The images of a finished job never change; a shared cache must not keep them.
    "Cache-Control": "private, max-age=31536000, immutable",
}
Against = Annotated[
    str | None,
    Query(
        max_length=36,
        description="Id of another finished job that was evaluated on the same images: its student is the reference "
        "instead of the teacher.",
    ),
]


@router.get(
    "",
    operation_id="jobs_damage",
    summary="Show what the student lost",
    responses=_UNCHANGED | _ERRORS,
)
def jobs_damage(
    job_id: JobId,
    engine: EngineDep,
    storage: StorageDep,
    response: Response,
    against: Against = None,
    if_none_match: IfNoneMatch = None,
) -> DamageOut:
    """Retention per class with 95 % intervals, the confusions that grew, and calibration curves: of the student against
    its teacher, or against another job's student."""
    _check_id(against)
    with read_scope(engine) as session:
        etag = service.version(session, job_id, against)
        check(if_none_match, etag)
        response.headers["ETag"] = etag
        return service.read(session, storage, job_id, against).report


@router.get(
    "/images",
    operation_id="jobs_damage_images",
    summary="List images that the models get wrong",
    responses=_ERRORS,
)
def jobs_damage_images(
    job_id: JobId,
    engine: EngineDep,
    storage: StorageDep,
    against: Against = None,
    outcome: Annotated[
        Outcome | None,
        Query(description="Only images with this outcome. `lost`: the reference is right and the student wrong."),
    ] = None,
    class_name: Annotated[
        str | None, Query(alias="class", max_length=256, description="Only images of this true class.")
    ] = None,
    sort: Annotated[
        ImageSort | None,
        Query(description="By the probability of the student's class; `-confidence` lists the highest first."),
    ] = None,
    limit: Limit = 50,
    cursor: CursorParameter = None,
) -> DamageImagePage:
    """The gallery: up to 200 images with both models' most probable classes. By default sorted by outcome; within an
    outcome, classes take turns. With `against`, images of this job's gallery that one of the students gets wrong."""
    _check_id(against)
    with read_scope(engine) as session:
        compared = service.read(session, storage, job_id, against)
    return service.image_page(compared, outcome=outcome, class_name=class_name, sort=sort, limit=limit, cursor=cursor)


@router.get(
    "/images/{number}",
    operation_id="jobs_damage_image",
    summary="Show a thumbnail",
    response_class=Response,
    responses={
        200: {"description": "The thumbnail.", "content": {"image/png": _BINARY, "image/jpeg": _BINARY}},
        **_UNCHANGED,
        **problems(JobNotFound, JobNotFinished, NoDamageReport, DamageImageNotFound, InvalidRequest),
    },
)
def jobs_damage_image(
    job_id: JobId,
    number: Annotated[int, Path(ge=0, le=199, description="Number of the image in the gallery.")],
    engine: EngineDep,
    storage: StorageDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """An image of the gallery, at most 96 pixels wide and high."""
    with read_scope(engine) as session:
        found = service.thumbnail(session, storage, job_id, number)
    check(if_none_match, found.etag)
    entry = found.entry
    chunks = storage.open(found.archive.key, entry.offset, entry.offset + entry.size)
    headers = {"ETag": found.etag, "Content-Length": str(entry.size), **_IMAGE_HEADERS}
    return StreamingResponse(chunks, headers=headers, media_type=entry.media_type)


def _check_id(job_id: str | None) -> None:
    if job_id is not None and not is_id(job_id):
        raise JobNotFound("No job has the id in `against`.")
