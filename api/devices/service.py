"""Devices, and the measuring work that their agents claim and complete."""

from sqlalchemy.orm import Session

from api.artifacts.service import Download
from api.devices.schemas import ClaimOut, DeviceList, DeviceOut, DeviceRequest, RequestList, RequestOut
from api.http.types import is_id
from api.measurements.schemas import MeasuredValues
from api.measurements.service import values
from ttm_core.spec.damage.files import TEACHER_FILE
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import ArtifactNotFound, JobNotFound, MeasurementRequestNotFound
from ttm_jobs.models import MeasurementRequest
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.measuring import devices, requests
from ttm_jobs.repositories.run_data import artifacts

# The teacher's file is for predictions and is not shipped.
_SUFFIX = ".onnx"
_MEDIA_TYPE = "application/octet-stream"


def list_all(session: Session) -> DeviceList:
    """The devices of the caller's project."""
    return DeviceList(
        items=[
            DeviceOut(**{name: getattr(each, name) for name in DeviceOut.model_fields})
            for each in devices.list_all(session)
        ]
    )


def request(session: Session, device: str, body: DeviceRequest) -> RequestList:
    """Requests measurements of a job's ONNX artifacts. Raises JobNotFound, and ArtifactNotFound without ONNX files."""
    if not is_id(body.job_id):
        raise JobNotFound
    crud.get(session, body.job_id)
    rows = artifacts.of_job(session, body.job_id)
    files = [each for each in rows if each.name.endswith(_SUFFIX) and each.name != TEACHER_FILE]
    if not files:
        raise ArtifactNotFound("The job has no ONNX artifacts.")
    made = [
        requests.request_artifact(session, file, device=device, batch=batch, threads=threads)
        for batch in dict.fromkeys(body.batches)
        for threads in (1, None)
        for file in files
    ]
    return RequestList(items=[_view(each) for each in made])


def claim(session: Session, device: str) -> ClaimOut:
    """The oldest work of a device, now claimed for ten minutes."""
    devices.seen(session, project_of(session), device)
    claimed = requests.claim(session, device)
    return ClaimOut(request=None if claimed is None else _view(claimed))


def find(session: Session, device: str, request_id: str) -> RequestOut:
    """Raises MeasurementRequestNotFound."""
    return _view(_get(session, device, request_id))


def model(session: Session, device: str, request_id: str) -> Download:
    """The ONNX file of a request. Raises MeasurementRequestNotFound."""
    found = _get(session, device, request_id)
    return Download(found.key, found.size, found.sha256, _MEDIA_TYPE, filename=f"{found.sha256[:16]}{_SUFFIX}")


def complete(
    session: Session, device: str, request_id: str, result: MeasuredValues, *, created_by: str | None
) -> RequestOut:
    """Records a result. Raises MeasurementRequestNotFound and MeasurementMismatch."""
    _get(session, device, request_id)
    devices.seen(session, project_of(session), device, cpu=result.cpu)
    return _view(requests.complete(session, request_id, values(result), created_by=created_by))


def fail(session: Session, device: str, request_id: str, error: str) -> RequestOut:
    """Records that the file was not measured. Raises MeasurementRequestNotFound."""
    _get(session, device, request_id)
    devices.seen(session, project_of(session), device)
    return _view(requests.fail(session, request_id, error))


def _get(session: Session, device: str, request_id: str) -> MeasurementRequest:
    found = requests.get(session, request_id)
    if found.device != device:
        raise MeasurementRequestNotFound
    return found


def _view(row: MeasurementRequest) -> RequestOut:
    names = RequestOut.model_fields.keys() - {"href"}
    return RequestOut(
        **{name: getattr(row, name) for name in names}, href=f"/devices/{row.device}/requests/{row.id}/model"
    )
