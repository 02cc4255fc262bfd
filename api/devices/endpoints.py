"""Routes of devices. An agent on a device polls `claim`, downloads the model, and posts the result."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from api.artifacts.service import send
from api.dependencies import CallerDep, EngineDep, StorageDep
from api.devices import service
from api.devices.schemas import ClaimOut, DeviceList, DeviceRequest, FailureRequest, RequestList, RequestOut
from api.http.conditional_requests import RangeNotSatisfiable
from api.http.errors import InvalidRequest
from api.http.json_bodies import BODY_ERRORS, JsonRoute
from api.http.problems import problems
from api.http.types import MeasurementRequestId
from api.measurements.schemas import DEVICE_NAME, MeasuredValues
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import ArtifactNotFound, JobNotFound, MeasurementMismatch, MeasurementRequestNotFound

router = APIRouter(prefix="/devices", tags=["devices"], route_class=JsonRoute)
DeviceName = Annotated[str, Path(pattern=DEVICE_NAME, description="Name of the device.")]


@router.get("", operation_id="devices_list", summary="List the devices")
def devices_list(engine: EngineDep) -> DeviceList:
    """Machines that measured ONNX artifacts of the project or polled for work, with what they measured and when they
    were last seen. A device exists from its first measurement or poll."""
    with read_scope(engine) as session:
        return service.list_all(session)


@router.post(
    "/{device}/requests",
    operation_id="devices_request",
    summary="Request measurements on a device",
    status_code=201,
    responses=problems(JobNotFound, ArtifactNotFound, InvalidRequest, *BODY_ERRORS),
)
def devices_request(device: DeviceName, request: DeviceRequest, engine: EngineDep) -> RequestList:
    """Asks the agent of a device (`ttm bench --agent`) to measure a job's ONNX artifacts. The device need not be
    online or known yet. Equal unfinished requests are returned, not created again."""
    with session_scope(engine) as session:
        return service.request(session, device, request)


@router.post(
    "/{device}/claim",
    operation_id="devices_claim",
    summary="Claim measuring work",
    responses=problems(InvalidRequest),
)
def devices_claim(device: DeviceName, engine: EngineDep) -> ClaimOut:
    """Claims the oldest request of a device for ten minutes, for its agent. Without a result in that time, it can be
    claimed again, up to three times. Scope `measure` is sufficient."""
    with session_scope(engine) as session:
        return service.claim(session, device)


@router.get(
    "/{device}/requests/{request_id}",
    operation_id="devices_requested",
    summary="Show a measurement request",
    responses=problems(MeasurementRequestNotFound, InvalidRequest),
)
def devices_requested(device: DeviceName, request_id: MeasurementRequestId, engine: EngineDep) -> RequestOut:
    """The state of a request, and the error of a failed one."""
    with read_scope(engine) as session:
        return service.find(session, device, request_id)


@router.head("/{device}/requests/{request_id}/model", include_in_schema=False)
@router.get(
    "/{device}/requests/{request_id}/model",
    operation_id="devices_model",
    summary="Download the model to measure",
    response_class=Response,
    responses={
        200: {
            "description": "The ONNX file.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(MeasurementRequestNotFound, InvalidRequest, RangeNotSatisfiable),
    },
)
def devices_model(
    device: DeviceName, request_id: MeasurementRequestId, request: Request, engine: EngineDep, storage: StorageDep
) -> Response:
    """The ONNX file of a request. Supports `Range` to resume a download. Scope `measure` is sufficient."""
    with read_scope(engine) as session:
        download = service.model(session, device, request_id)
    return send(download, storage, request.method, request.headers)


@router.post(
    "/{device}/requests/{request_id}/result",
    operation_id="devices_complete",
    summary="Post the result of measuring work",
    responses=problems(MeasurementRequestNotFound, MeasurementMismatch, InvalidRequest, *BODY_ERRORS),
)
def devices_complete(
    device: DeviceName, request_id: MeasurementRequestId, result: MeasuredValues, engine: EngineDep, caller: CallerDep
) -> RequestOut:
    """Records the measurement of the requested file and, if it is a job's artifact, adds it to the job's measurements.
    Repeating the request has no effect. Scope `measure` is sufficient."""
    with session_scope(engine) as session:
        return service.complete(session, device, request_id, result, created_by=caller.name)


@router.post(
    "/{device}/requests/{request_id}/failure",
    operation_id="devices_fail",
    summary="Report that a file was not measured",
    responses=problems(MeasurementRequestNotFound, InvalidRequest, *BODY_ERRORS),
)
def devices_fail(
    device: DeviceName, request_id: MeasurementRequestId, failure: FailureRequest, engine: EngineDep
) -> RequestOut:
    """Fails a request with a reason, for example a file that needs more memory than the device has. Scope `measure` is
    sufficient."""
    with session_scope(engine) as session:
        return service.fail(session, device, request_id, failure.error)
