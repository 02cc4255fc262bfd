"""Routes of what jobs make."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.artifacts import service
from api.artifacts.schemas import ArtifactList
from api.dependencies import EngineDep, StorageDep
from api.errors import RangeNotSatisfiable
from api.identifiers import ArtifactName, JobId
from api.problems import problems
from ttm_jobs.database import read_scope
from ttm_jobs.errors import ArtifactNotFound, JobNotFinished, JobNotFound

router = APIRouter(prefix="/jobs/{job_id}", tags=["artifacts"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file; its ETag is its SHA-256.", "content": {"application/octet-stream": _BINARY}},
    206: {"description": "The range asked for.", "content": {"application/octet-stream": _BINARY}},
    304: {"description": "`If-None-Match` names the file."},
}


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
def jobs_student(job_id: JobId, request: Request, engine: EngineDep, storage: StorageDep) -> Response:
    """A safetensors file that says in its metadata what it is. `Range` and `If-Range` resume a download."""
    with read_scope(engine) as session:
        download = service.student(session, job_id)
    return service.send(download, storage, request.method, request.headers)


@router.head("/log", include_in_schema=False)
@router.get(
    "/log",
    operation_id="jobs_log",
    summary="Read the trainer's output",
    response_class=Response,
    responses={
        200: {"description": "The newest attempt's output, once it has ended.", "content": {"text/plain": {}}},
        **problems(JobNotFound, ArtifactNotFound, RangeNotSatisfiable),
    },
)
def jobs_log(job_id: JobId, request: Request, engine: EngineDep, storage: StorageDep) -> Response:
    """What the training process printed; kept when the attempt ends, however it ends."""
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
) -> Response:
    """The file's bytes, resumable as the student's are."""
    with read_scope(engine) as session:
        download = service.find(session, job_id, name)
    return service.send(download, storage, request.method, request.headers)
