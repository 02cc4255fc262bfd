"""Routes of artifacts."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.artifacts import service
from api.artifacts.schemas import ArtifactList, LinkOut
from api.dependencies import EngineDep, SettingsDep, StorageDep
from api.http.conditional_requests import RangeNotSatisfiable
from api.http.errors import InvalidRequest
from api.http.problems import problems
from api.http.types import ArtifactName, JobId
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import ArtifactNotFound, JobNotFinished, JobNotFound

router = APIRouter(prefix="/jobs/{job_id}", tags=["artifacts"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_JSON: dict[str, Any] = {"application/json": {}}
_DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file. Its ETag is its SHA-256.", "content": {"application/octet-stream": _BINARY}},
    206: {"description": "The requested range.", "content": {"application/octet-stream": _BINARY}},
    304: {"description": "The ETag in `If-None-Match` is current."},
    307: {
        "description": "With `TTM_DIRECT_DOWNLOADS`: redirect to a signed URL of the object store, valid for 15 "
        "minutes."
    },
}
Redirect = Annotated[
    bool, Query(description="`false`: the service sends the bytes itself instead of redirecting to the object store.")
]


@router.get(
    "/artifacts", operation_id="artifacts_list", summary="List a job's artifacts", responses=problems(JobNotFound)
)
def artifacts_list(job_id: JobId, engine: EngineDep) -> ArtifactList:
    """Name, size, SHA-256 and download path of each artifact."""
    with read_scope(engine) as session:
        return service.of_job(session, job_id)


@router.head("/student", include_in_schema=False)
@router.get(
    "/student",
    operation_id="jobs_student",
    summary="Download the trained student",
    response_class=Response,
    responses=_DOWNLOAD | problems(JobNotFound, JobNotFinished, RangeNotSatisfiable),
)
def jobs_student(
    job_id: JobId,
    request: Request,
    engine: EngineDep,
    storage: StorageDep,
    settings: SettingsDep,
    redirect: Redirect = True,
) -> Response:
    """Downloads the student as a safetensors file; its metadata contains the architecture. Supports `Range` and
    `If-Range` to resume a download."""
    with read_scope(engine) as session:
        download = service.student(session, job_id)
    direct = redirect and settings.direct_downloads
    return service.send(download, storage, request.method, request.headers, direct=direct)


@router.head("/artifacts.zip", include_in_schema=False)
@router.get(
    "/artifacts.zip",
    operation_id="artifacts_zip",
    summary="Download all artifacts as one zip",
    response_class=Response,
    responses={
        200: {"description": "All artifacts, uncompressed.", "content": {"application/octet-stream": _BINARY}},
        **problems(JobNotFound, JobNotFinished),
    },
)
def artifacts_zip(job_id: JobId, request: Request, engine: EngineDep, storage: StorageDep) -> Response:
    """Streams all artifacts as one zip archive. It has no Content-Length and cannot be resumed, unlike single
    artifacts.
    """
    with read_scope(engine) as session:
        files = service.all_files(session, job_id)
        return service.send_zip(files, storage, request.method)


@router.head("/report", include_in_schema=False)
@router.get(
    "/report",
    operation_id="jobs_report",
    summary="Read a job's report",
    response_class=Response,
    responses={
        200: {"description": "The report; see docs/reference/report.md.", "content": _JSON},
        **problems(JobNotFound, JobNotFinished, ArtifactNotFound, RangeNotSatisfiable),
    },
)
def jobs_report(job_id: JobId, request: Request, engine: EngineDep, storage: StorageDep) -> Response:
    """Accuracy, calibration, agreement, per-class results, size, cost and latency of teacher and student, as JSON."""
    with read_scope(engine) as session:
        download = service.report(session, job_id, "report.json")
    return service.send(download, storage, request.method, request.headers)


@router.head("/report.html", include_in_schema=False)
@router.get(
    "/report.html",
    operation_id="jobs_report_page",
    summary="Show a job's report as HTML",
    response_class=Response,
    responses={
        200: {"description": "The HTML report.", "content": {"text/html": {}}},
        **problems(JobNotFound, JobNotFinished, ArtifactNotFound, RangeNotSatisfiable),
    },
)
def jobs_report_page(job_id: JobId, request: Request, engine: EngineDep, storage: StorageDep) -> Response:
    """The report as one HTML page without scripts. It is the artifact `report.html`."""
    with read_scope(engine) as session:
        download = service.report(session, job_id, "report.html")
    return service.send_page(download, storage, request.method, request.headers)


@router.head("/log", include_in_schema=False)
@router.get(
    "/log",
    operation_id="jobs_log",
    summary="Read the trainer's output",
    response_class=Response,
    responses={
        200: {"description": "The output of the latest attempt.", "content": {"text/plain": {}}},
        **problems(JobNotFound, ArtifactNotFound, RangeNotSatisfiable),
    },
)
def jobs_log(job_id: JobId, request: Request, engine: EngineDep, storage: StorageDep) -> Response:
    """The output of the training process. It is updated every few seconds and complete when the attempt ends. Supports
    `Range`, for example to read the end."""
    with read_scope(engine) as session:
        download = service.log(session, job_id)
    return service.send(download, storage, request.method, request.headers)


@router.head("/artifacts/{name}", include_in_schema=False)
@router.get(
    "/artifacts/{name}",
    operation_id="artifacts_get",
    summary="Download an artifact",
    response_class=Response,
    responses=_DOWNLOAD | problems(JobNotFound, ArtifactNotFound, RangeNotSatisfiable),
)
def artifacts_get(
    job_id: JobId,
    name: ArtifactName,
    request: Request,
    engine: EngineDep,
    storage: StorageDep,
    settings: SettingsDep,
    redirect: Redirect = True,
) -> Response:
    """Downloads an artifact. Supports `Range` and `If-Range` to resume a download."""
    with read_scope(engine) as session:
        download = service.find(session, job_id, name)
    direct = redirect and settings.direct_downloads
    return service.send(download, storage, request.method, request.headers, direct=direct)


@router.post(
    "/artifacts/{name}/link",
    operation_id="artifacts_link",
    summary="Create a link to an artifact",
    responses=problems(JobNotFound, ArtifactNotFound, InvalidRequest),
)
def artifacts_link(
    job_id: JobId,
    name: ArtifactName,
    engine: EngineDep,
    seconds: Annotated[int, Query(ge=1, le=7 * 86_400, description="Lifetime of the link in seconds.")] = 3600,
) -> LinkOut:
    """Creates a link that gives access to this artifact without an API key. A link cannot be revoked; deleting the job
    invalidates it."""
    with session_scope(engine) as session:
        return service.link(session, job_id, name, seconds=seconds)
