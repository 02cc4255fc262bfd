"""Routes of measurements."""

from fastapi import APIRouter

from api.dependencies import CallerDep, EngineDep, StorageDep
from api.http.errors import InvalidRequest
from api.http.json_bodies import BODY_ERRORS, JsonRoute
from api.http.problems import problems
from api.http.types import JobId
from api.measurements import service
from api.measurements.schemas import MeasurementList, MeasurementOut, MeasurementRequest
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import ArtifactNotFound, JobNotFound, MeasurementMismatch

router = APIRouter(prefix="/jobs/{job_id}/measurements", tags=["measurements"], route_class=JsonRoute)


@router.get("", operation_id="measurements_list", summary="List a job's measurements", responses=problems(JobNotFound))
def measurements_list(job_id: JobId, engine: EngineDep, storage: StorageDep) -> MeasurementList:
    """Latency, throughput and memory of the job's ONNX artifacts on every device that measured them, and the file to
    ship on each. The worker measures the artifacts of every finished job; `ttm bench` adds other devices. Measurements
    of files that a later attempt replaced are omitted."""
    with read_scope(engine) as session:
        return service.of_job(session, storage, job_id)


@router.post(
    "",
    operation_id="measurements_create",
    summary="Post a measurement",
    status_code=201,
    responses=problems(JobNotFound, ArtifactNotFound, InvalidRequest, MeasurementMismatch, *BODY_ERRORS),
)
def measurements_create(
    job_id: JobId, request: MeasurementRequest, engine: EngineDep, caller: CallerDep
) -> MeasurementOut:
    """Records a measurement of an artifact. The hash must be the artifact's, and the numbers must be consistent. It
    replaces an earlier measurement of the same artifact, device, runtime version, batch and threads, so repeating the
    request has no further effect. Scope `measure` is sufficient; scope `read` is not."""
    with session_scope(engine) as session:
        return service.record(session, job_id, request, created_by=caller.name)
