"""Route of predictions."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from api.dependencies import EngineDep, ServicesDep
from api.http.errors import ReaderUnavailable, RequestTimeout, TooManyPredictions
from api.http.problems import problems
from api.http.types import JobId
from api.predictions import service
from api.predictions.service import NoOnnxFile
from api.receiving.prediction import PredictionTimeout, PredictionUnavailable, UnreadableImage
from ttm_core.spec.damage.single_prediction import Prediction
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import JobNotFinished, JobNotFound, ServiceError, TooLarge

router = APIRouter(prefix="/jobs/{job_id}", tags=["artifacts"])

# The last is for clients that are generated from an OpenAPI document, which cannot send the others.
_TYPES = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/gif",
    "image/bmp",
    "image/tiff",
    "application/octet-stream",
)
_PATH = re.compile(r"/jobs/[^/]+/predict")
_BODY: dict[str, Any] = {
    "required": True,
    "content": {name: {"schema": {"type": "string", "format": "binary"}} for name in _TYPES},
}


class UnsupportedImageType(ServiceError):
    """The body must be an image: PNG, JPEG, WebP, GIF, BMP or TIFF, as `image/...` or `application/octet-stream`."""

    status = 415
    code = "unsupported_image_type"


def is_prediction_path(path: str) -> bool:
    """Whether requests with this path send an image."""
    return _PATH.fullmatch(path) is not None


async def _image(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _TYPES:
        raise UnsupportedImageType
    return await request.body()


@router.post(
    "/predict",
    operation_id="jobs_predict",
    summary="Classify an image with the student",
    openapi_extra={"requestBody": _BODY},
    responses=problems(
        JobNotFound,
        JobNotFinished,
        NoOnnxFile,
        UnsupportedImageType,
        UnreadableImage,
        TooLarge,
        RequestTimeout,
        TooManyPredictions,
        ReaderUnavailable,
        PredictionUnavailable,
        PredictionTimeout,
    ),
)
def jobs_predict(
    job_id: JobId, image: Annotated[bytes, Depends(_image)], engine: EngineDep, services: ServicesDep
) -> Prediction:
    """The five most probable classes of the student, of its int8 file and of the teacher, where the job has these
    files, and the latency of each in ONNX Runtime on one thread of the service. The body is one image of at most
    `TTM_MAX_IMAGE_BYTES`. Its center square is resized to the models' input. The image is not stored."""
    with read_scope(engine) as session:
        keys = service.files_of(session, job_id)
    return services.predictor.predict(image, keys)
