"""Routes of uploads."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.dependencies import EngineDep, ServicesDep
from api.errors import InvalidRequest
from api.identifiers import UploadId
from api.problems import problems
from api.uploads import service
from api.uploads.schemas import UploadOut
from api.uploads.service import EmptyUpload, Receiver
from ttm_jobs.database import read_scope
from ttm_jobs.errors import ChecksumMismatch, QuotaExceeded, StorageFull, TooLarge, UploadNotFound

router = APIRouter(prefix="/uploads", tags=["uploads"])

_BODY = {
    "required": True,
    "content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
            }
        },
    },
}
_HEADERS = [
    {
        "name": "X-Content-SHA256",
        "in": "header",
        "required": False,
        "description": "SHA-256 of the file in hex. The upload is refused if other bytes arrive. Or `Repr-Digest`.",
        "schema": {"type": "string"},
    }
]


@router.post(
    "",
    operation_id="uploads_create",
    summary="Upload a checkpoint or a data archive",
    status_code=201,
    response_model=UploadOut,
    openapi_extra={"requestBody": _BODY, "parameters": _HEADERS},
    responses=problems(TooLarge, EmptyUpload, ChecksumMismatch, InvalidRequest, QuotaExceeded, StorageFull),
)
async def uploads_create(
    request: Request,
    response: Response,
    services: ServicesDep,
    engine: EngineDep,
    filename: Annotated[str | None, Query(max_length=1024, description="Or from `Content-Disposition`.")] = None,
) -> UploadOut:
    """The file as the raw body (`curl --data-binary @file`), or as the one file of a form. It is streamed to storage
    and never looked into here; a spec names it by the `uri` of the answer."""
    receiver = Receiver(engine, services.storage, services.settings.max_upload_bytes, services.upload_threads)
    upload = await receiver.receive(request.headers, filename, request.stream())
    response.headers["Location"] = f"/uploads/{upload.id}"
    return upload


@router.get("/{upload_id}", operation_id="uploads_get", summary="Show an upload", responses=problems(UploadNotFound))
def uploads_get(upload_id: UploadId, engine: EngineDep) -> UploadOut:
    """Size, SHA-256 and address of an upload."""
    with read_scope(engine) as session:
        return service.get(session, upload_id)
