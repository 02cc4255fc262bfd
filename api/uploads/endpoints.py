"""Routes of uploads."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from api.dependencies import EngineDep, ServicesDep, StorageDep
from api.http.errors import InvalidCursor, InvalidRequest, UnsupportedMediaType, UnsupportedTusVersion
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.http.types import UploadId
from api.uploads import service, tus
from api.uploads.resumable import Resumable
from api.uploads.schemas import UploadOut, UploadPage
from api.uploads.service import EmptyUpload, Receiver
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import (
    ChecksumMismatch,
    PartChecksumMismatch,
    QuotaExceeded,
    StorageFull,
    TooLarge,
    UploadExpired,
    UploadNotFound,
    UploadOffsetWrong,
)

router = APIRouter(prefix="/uploads", tags=["uploads"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "required": True,
    "content": {
        "application/octet-stream": _BINARY,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
            }
        },
    },
}


def _header(name: str, description: str, *, required: bool = False, kind: str = "string") -> dict[str, Any]:
    schema = {"type": kind}
    return {"name": name, "in": "header", "required": required, "description": description, "schema": schema}


_HEADERS = [
    _header(
        "X-Content-SHA256", "SHA-256 of the file in hex. The upload is refused if other bytes arrive. Or `Repr-Digest`."
    ),
    _header("Tus-Resumable", "1.0.0 for an upload in parts."),
    _header("Upload-Length", "Bytes of an upload in parts, in digits."),
    _header("Upload-Metadata", "Of an upload in parts: `filename` and the name in base64."),
]
_TUS = _header("Tus-Resumable", "1.0.0", required=True)
_OFFSET = {
    "Upload-Offset": {"description": "Bytes that are durable.", "schema": {"type": "integer"}},
    "Upload-Expires": {"description": "Until when it may be gone on with.", "schema": {"type": "string"}},
}


async def _resumable(services: ServicesDep, engine: EngineDep) -> Resumable:
    settings = services.settings
    life = timedelta(seconds=settings.collect_min_age_seconds)
    return Resumable(engine, services.storage, settings.max_upload_bytes, life, services.upload_threads)


ResumableDep = Annotated[Resumable, Depends(_resumable)]


@router.post(
    "",
    operation_id="uploads_create",
    summary="Upload a checkpoint or a data archive",
    status_code=201,
    response_model=UploadOut,
    openapi_extra={"requestBody": _BODY, "parameters": _HEADERS},
    responses=problems(
        TooLarge,
        EmptyUpload,
        ChecksumMismatch,
        InvalidRequest,
        QuotaExceeded,
        StorageFull,
        UnsupportedMediaType,
        UnsupportedTusVersion,
    ),
)
async def uploads_create(
    request: Request,
    response: Response,
    services: ServicesDep,
    engine: EngineDep,
    resumable: ResumableDep,
    filename: Annotated[str | None, Query(max_length=1024, description="Or from `Content-Disposition`.")] = None,
) -> UploadOut | Response:
    """The file as the raw body (`curl --data-binary @file`), or as the one file of a form. It is streamed to storage
    and never looked into here; a spec names it by the `uri` of the answer.

    With `Tus-Resumable: 1.0.0` an upload in parts begins instead, as tus 1.0 has it, so that its clients work: the
    answer has a `Location` and no body, PATCH sends the bytes, and `upload:ID` names it once they are all there."""
    if "tus-resumable" in request.headers:
        standing = await resumable.create(request.headers)
        if "upload-offset" in request.headers or request.headers.get("content-type") == tus.CONTENT_TYPE:
            first = request.headers.mutablecopy()
            first["upload-offset"] = "0"
            standing = await resumable.append(standing.id, first, request.stream())
        return Response(status_code=201, headers={"Location": f"/uploads/{standing.id}", **standing.headers()})
    receiver = Receiver(engine, services.storage, services.settings.max_upload_bytes, services.upload_threads)
    upload = await receiver.receive(request.headers, filename, request.stream())
    response.headers["Location"] = f"/uploads/{upload.id}"
    return upload


@router.options("", include_in_schema=False)
@router.options("/{upload_id}", include_in_schema=False)
async def uploads_options(services: ServicesDep) -> Response:
    """What of tus is spoken here."""
    return Response(status_code=204, headers=tus.abilities(services.settings.max_upload_bytes))


@router.get(
    "",
    operation_id="uploads_list",
    summary="List uploads, newest first",
    responses=problems(InvalidRequest, InvalidCursor),
)
def uploads_list(engine: EngineDep, limit: Limit = 50, cursor: CursorParameter = None) -> UploadPage:
    """Those that are complete."""
    with read_scope(engine) as session:
        return service.page(session, limit=limit, cursor=cursor)


@router.get("/{upload_id}", operation_id="uploads_get", summary="Show an upload", responses=problems(UploadNotFound))
def uploads_get(upload_id: UploadId, engine: EngineDep) -> UploadOut:
    """Size, SHA-256 and address of an upload that is complete."""
    with read_scope(engine) as session:
        return service.get(session, upload_id)


@router.head(
    "/{upload_id}",
    operation_id="uploads_offset",
    summary="Ask how far an upload has come",
    response_class=Response,
    openapi_extra={"parameters": [_TUS]},
    responses={
        200: {"headers": _OFFSET, "description": "What is durable."},
        **problems(UploadNotFound, UploadExpired, UnsupportedTusVersion),
    },
)
async def uploads_offset(upload_id: UploadId, resumable: ResumableDep) -> Response:
    """As tus 1.0 has it: after a connection that broke, the bytes go on at `Upload-Offset`."""
    standing = await resumable.standing(upload_id)
    return Response(headers={"Cache-Control": "no-store", **standing.headers()})


@router.patch(
    "/{upload_id}",
    operation_id="uploads_append",
    summary="Send bytes of an upload",
    status_code=204,
    openapi_extra={
        "requestBody": {"required": True, "content": {tus.CONTENT_TYPE: _BINARY}},
        "parameters": [
            _TUS,
            _header("Upload-Offset", "Where the bytes begin: what HEAD answers.", required=True, kind="integer"),
            _header("Upload-Checksum", "`sha256` or `sha1`, and the digest of the body in base64."),
        ],
    },
    responses={
        204: {"headers": _OFFSET, "description": "The bytes are durable."},
        **problems(
            UploadNotFound,
            UploadExpired,
            UploadOffsetWrong,
            PartChecksumMismatch,
            TooLarge,
            StorageFull,
            InvalidRequest,
            UnsupportedMediaType,
            UnsupportedTusVersion,
        ),
    },
)
async def uploads_append(upload_id: UploadId, request: Request, resumable: ResumableDep) -> Response:
    """As tus 1.0 has it. What arrives before a connection breaks is kept; a body with `Upload-Checksum` is kept whole
    or not at all. With its last byte the upload is complete."""
    standing = await resumable.append(upload_id, request.headers, request.stream())
    return Response(status_code=204, headers=standing.headers())


@router.delete(
    "/{upload_id}",
    operation_id="uploads_delete",
    summary="Delete an upload",
    status_code=204,
    responses=problems(UploadNotFound, UnsupportedTusVersion),
)
def uploads_delete(upload_id: UploadId, engine: EngineDep, storage: StorageDep) -> None:
    """Complete or not. A job that names it and has not fetched it yet fails."""
    service.remove(engine, storage, upload_id)
