"""Routes of what jobs make."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.artifacts import service
from api.artifacts.schemas import ArtifactList, LinkOut
from api.dependencies import EngineDep, SettingsDep, StorageDep
from api.http.errors import InvalidRequest, RangeNotSatisfiable
from api.http.problems import problems
from api.http.types import ArtifactName, JobId
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import ArtifactNotFound, JobNotFinished, JobNotFound

router = APIRouter(prefix="/jobs/{job_id}", tags=["artifacts"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_JSON: dict[str, Any] = {"application/json": {}}
_DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file; its ETag is its SHA-256.", "content": {"application/octet-stream": _BINARY}},
    206: {"description": "The range asked for.", "content": {"application/octet-stream": _BINARY}},
    304: {"description": "`If-None-Match` names the file."},
    307: {
        "description": "With `TTM_DIRECT_DOWNLOADS`: `Location` is a signed address of the object store, for minutes."
    },
}
Redirect = Annotated[
    bool, Query(description="false: the service sends the bytes itself, also where it would lead to the object store.")
]


@router.get(
    "/artifacts", operation_id="artifacts_list", summary="List a job's artifacts", responses=problems(JobNotFound)
)
def artifacts_list(job_id: JobId, engine: EngineDep) -> ArtifactList:
    """Name, size, SHA-256 and path of every file that the job has made."""
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
    """A safetensors file that says in its metadata what it is. `Range` and `If-Range` resume a download."""
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
        200: {"description": "Every artifact under its name, stored.", "content": {"application/zip": _BINARY}},
        **problems(JobNotFound, JobNotFinished),
    },
)
def artifacts_zip(job_id: JobId, request: Request, engine: EngineDep, storage: StorageDep) -> Response:
    """Made while it is sent, so it has no length and cannot be resumed; the files one by one can."""
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
        200: {"description": "report.json, as docs/reference/report.md describes it.", "content": _JSON},
        **problems(JobNotFound, JobNotFinished, ArtifactNotFound, RangeNotSatisfiable),
    },
)
def jobs_report(job_id: JobId, request: Request, engine: EngineDep, storage: StorageDep) -> Response:
    """Accuracy, calibration, agreement with the teacher, each class, size, cost and latency; teacher beside student."""
    with read_scope(engine) as session:
        download = service.report(session, job_id, "report.json")
    return service.send(download, storage, request.method, request.headers)


@router.head("/report.html", include_in_schema=False)
@router.get(
    "/report.html",
    operation_id="jobs_report_page",
    summary="Show a job's report",
    response_class=Response,
    responses={
        200: {"description": "The report as a page.", "content": {"text/html": {}}},
        **problems(JobNotFound, JobNotFinished, ArtifactNotFound, RangeNotSatisfiable),
    },
)
def jobs_report_page(job_id: JobId, request: Request, engine: EngineDep, storage: StorageDep) -> Response:
    """One page without scripts, also to be kept: `report.html` among the artifacts is the same file."""
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
        200: {"description": "The newest attempt's output so far.", "content": {"text/plain": {}}},
        **problems(JobNotFound, ArtifactNotFound, RangeNotSatisfiable),
    },
)
def jobs_log(job_id: JobId, request: Request, engine: EngineDep, storage: StorageDep) -> Response:
    """What the training process prints: stored every few seconds while it runs, and whole when the attempt ends,
    however it ends. `Range` reads the end of it."""
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
    """The file's bytes, resumable as the student's are."""
    with read_scope(engine) as session:
        download = service.find(session, job_id, name)
    direct = redirect and settings.direct_downloads
    return service.send(download, storage, request.method, request.headers, direct=direct)


@router.post(
    "/artifacts/{name}/link",
    operation_id="artifacts_link",
    summary="Make a link to an artifact that works without a key",
    responses=problems(JobNotFound, ArtifactNotFound, InvalidRequest),
)
def artifacts_link(
    job_id: JobId,
    name: ArtifactName,
    engine: EngineDep,
    seconds: Annotated[int, Query(ge=1, le=7 * 86_400, description="How long it works.")] = 3600,
) -> LinkOut:
    """For whoever is to have this one file and no key. It cannot be taken back; deleting the job ends it."""
    with session_scope(engine) as session:
        return service.link(session, job_id, name, seconds=seconds)
