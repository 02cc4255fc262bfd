"""Routes of uploads."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy import Engine

from api.auth.callers import Caller
from api.dependencies import CallerDep, EngineDep, Services, ServicesDep, StorageDep
from api.http.errors import (
    InvalidCursor,
    InvalidRequest,
    ReaderUnavailable,
    RequestTimeout,
    TooManyInspections,
    TooManyUploads,
    UnsupportedMediaType,
    UnsupportedTusVersion,
)
from api.http.json_bodies import BODY_ERRORS, JsonRoute
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.http.types import UploadId
from api.receiving.inspection import UploadedFile
from api.uploads import service, tus
from api.uploads.resumable import Resumable
from api.uploads.schemas import UploadOut, UploadPage
from api.uploads.service import EmptyUpload, Receiver
from ttm_core.checkpoints.schema import Inspection, InspectionRequest
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import (
    ChecksumMismatch,
    PartChecksumMismatch,
    QuotaExceeded,
    StorageFull,
    TooLarge,
    UploadExpired,
    UploadNotComplete,
    UploadNotFound,
    UploadOffsetWrong,
)
from ttm_jobs.repositories import uploads

router = APIRouter(prefix="/uploads", tags=["uploads"], route_class=JsonRoute)

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {"required": True, "content": {"application/octet-stream": _BINARY}}


def _header(name: str, description: str, *, required: bool = False, kind: str = "string") -> dict[str, Any]:
    schema = {"type": kind}
    return {"name": name, "in": "header", "required": required, "description": description, "schema": schema}


_CHECKSUM = _header(
    "X-Content-SHA256",
    "SHA-256 of the file in hex. The upload fails if the received bytes differ. `Repr-Digest` is supported as well.",
)
_HEADERS = [
    _CHECKSUM,
    _header("Tus-Resumable", "1.0.0 to create a resumable upload."),
    _header("Upload-Length", "Size of a resumable upload in bytes."),
    _header("Upload-Metadata", "Metadata of a resumable upload: `filename` and the name in base64."),
]
_RECEIVE_ERRORS = (
    TooLarge,
    EmptyUpload,
    ChecksumMismatch,
    InvalidRequest,
    QuotaExceeded,
    StorageFull,
    RequestTimeout,
    TooManyUploads,
)
_EVERYTHING = InspectionRequest(architecture=None, key_map=None, checkpoint_key=None)
_TUS = _header("Tus-Resumable", "1.0.0", required=True)
_OFFSET = {
    "Upload-Offset": {"description": "Number of bytes stored durably.", "schema": {"type": "integer"}},
    "Upload-Expires": {"description": "When the incomplete upload expires.", "schema": {"type": "string"}},
}


async def _resumable(services: ServicesDep, engine: EngineDep) -> Resumable:
    settings = services.settings
    lifetime = timedelta(seconds=settings.collect_min_age_seconds)
    return Resumable(
        engine,
        services.storage,
        settings.max_upload_bytes,
        lifetime,
        services.upload_slots.threads,
        services.digests,
        services.finalizer,
    )


ResumableDep = Annotated[Resumable, Depends(_resumable)]


@router.post(
    "",
    operation_id="uploads_create",
    summary="Upload a checkpoint or a data archive",
    status_code=201,
    response_model=UploadOut,
    openapi_extra={"requestBody": _BODY, "parameters": _HEADERS},
    responses=problems(*_RECEIVE_ERRORS, UnsupportedMediaType, UnsupportedTusVersion),
)
async def uploads_create(
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    engine: EngineDep,
    resumable: ResumableDep,
    filename: Annotated[
        str | None, Query(max_length=1024, description="Name of the file. Default: the name in `Content-Disposition`.")
    ] = None,
) -> UploadOut | Response:
    """Stores the request body as a file. Specs refer to it by the `uri` in the response. `PUT /uploads/{filename}` does
    the same, for `curl -T file URL/uploads/`.

    With `Tus-Resumable: 1.0.0` this creates a resumable upload (tus 1.0) instead: the response has a `Location` and no
    body, PATCH requests send the bytes, and `upload:ID` is valid once all bytes have been received."""
    if "tus-resumable" in request.headers:
        if "upload-offset" in request.headers or request.headers.get("content-type") == tus.CONTENT_TYPE:
            with services.upload_slots.taken(caller.project_id):
                status = await resumable.create_with_bytes(request.headers, request.stream())
        else:
            status = await resumable.create(request.headers)
        return Response(status_code=201, headers={"Location": f"/uploads/{status.id}", **status.headers()})
    return await _receive(request, response, services, caller, engine, filename)


@router.put(
    "",
    operation_id="uploads_put",
    summary="Upload a file with PUT",
    status_code=201,
    response_model=UploadOut,
    openapi_extra={"requestBody": _BODY, "parameters": [_CHECKSUM]},
    responses=problems(*_RECEIVE_ERRORS, UnsupportedMediaType),
)
async def uploads_put(
    request: Request, response: Response, services: ServicesDep, caller: CallerDep, engine: EngineDep
) -> UploadOut:
    """Stores the request body as a file, for `curl -T file URL/uploads`. Every request creates a new upload."""
    return await _receive(request, response, services, caller, engine, None)


# For OpenAPI, `/uploads/{filename}` would be the same path as `/uploads/{upload_id}`.
@router.put(
    "/{upload_id}",
    operation_id="uploads_put_named",
    summary="Upload a file with PUT and its name",
    status_code=201,
    response_model=UploadOut,
    openapi_extra={"requestBody": _BODY, "parameters": [_CHECKSUM]},
    responses=problems(*_RECEIVE_ERRORS, UnsupportedMediaType),
)
async def uploads_put_named(
    filename: Annotated[str, Path(alias="upload_id", max_length=1024, description="Name of the file.")],
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    engine: EngineDep,
) -> UploadOut:
    """Stores the request body as a file with this name, for `curl -T file URL/uploads/`, which appends the name. Every
    request creates a new upload."""
    return await _receive(request, response, services, caller, engine, filename)


async def _receive(
    request: Request, response: Response, services: Services, caller: Caller, engine: Engine, filename: str | None
) -> UploadOut:
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise UnsupportedMediaType(
            "Forms are not supported. Send the file as the request body: curl -T FILE URL/uploads/"
        )
    slots = services.upload_slots
    receiver = Receiver(engine, services.storage, services.settings.max_upload_bytes, slots.threads)
    with slots.taken(caller.project_id):
        upload = await receiver.receive(request.headers, filename, request.stream())
    response.headers["Location"] = f"/uploads/{upload.id}"
    return upload


@router.options("", include_in_schema=False)
@router.options("/{upload_id}", include_in_schema=False)
async def uploads_options(services: ServicesDep) -> Response:
    """The supported features of tus."""
    return Response(status_code=204, headers=tus.capabilities(services.settings.max_upload_bytes))


@router.get(
    "",
    operation_id="uploads_list",
    summary="List uploads, newest first",
    responses=problems(InvalidRequest, InvalidCursor),
)
def uploads_list(engine: EngineDep, limit: Limit = 50, cursor: CursorParameter = None) -> UploadPage:
    """The complete uploads of the project."""
    with read_scope(engine) as session:
        return service.page(session, limit=limit, cursor=cursor)


@router.get("/{upload_id}", operation_id="uploads_get", summary="Show an upload", responses=problems(UploadNotFound))
def uploads_get(upload_id: UploadId, engine: EngineDep) -> UploadOut:
    """Name, size, SHA-256 and URI of an upload that has all its bytes. Jobs can use it once its state is `complete`."""
    with read_scope(engine) as session:
        return service.get(session, upload_id)


@router.post(
    "/{upload_id}/inspect",
    operation_id="uploads_inspect",
    summary="Inspect a checkpoint",
    responses=problems(
        UploadNotFound, UploadNotComplete, TooManyInspections, ReaderUnavailable, InvalidRequest, *BODY_ERRORS
    ),
)
def uploads_inspect(
    upload_id: UploadId, engine: EngineDep, services: ServicesDep, request: InspectionRequest = _EVERYTHING
) -> Inspection:
    """What the file is: its kind and tensors, the architectures that they fit, and the `key_map` for one whose names
    differ. With `architecture`, compares the file with this architecture first, and with `key_map`, renames its tensors
    before. `checkpoint_keys` lists the models of a file that has several. The file is read in a separate process; this
    takes seconds. A file that is not a checkpoint has a `problem`.
    """
    with read_scope(engine) as session:
        upload = uploads.get(session, upload_id)
        file = UploadedFile.of(upload, uploads.object_keys(session, upload))
    return services.inspector.inspect(file, request)


@router.head(
    "/{upload_id}",
    operation_id="uploads_offset",
    summary="Get the offset of a resumable upload",
    response_class=Response,
    openapi_extra={"parameters": [_TUS]},
    responses={
        200: {"headers": _OFFSET, "description": "The stored bytes."},
        **problems(UploadNotFound, UploadExpired, UnsupportedTusVersion),
    },
)
async def uploads_offset(upload_id: UploadId, resumable: ResumableDep) -> Response:
    """Returns the number of stored bytes (tus 1.0). After a lost connection, continue at `Upload-Offset`."""
    status = await resumable.status(upload_id)
    return Response(headers={"Cache-Control": "no-store", **status.headers()})


@router.patch(
    "/{upload_id}",
    operation_id="uploads_append",
    summary="Append bytes to a resumable upload",
    status_code=204,
    openapi_extra={
        "requestBody": {"required": True, "content": dict.fromkeys(tus.CONTENT_TYPES, _BINARY)},
        "parameters": [
            _TUS,
            _header("Upload-Offset", "Offset of the first byte, as returned by HEAD.", required=True, kind="integer"),
            _header("Upload-Checksum", "`sha256` or `sha1`, a space, and the digest of the body in base64."),
        ],
    },
    responses={
        204: {"headers": _OFFSET, "description": "The bytes are stored."},
        **problems(
            UploadNotFound,
            UploadExpired,
            UploadOffsetWrong,
            PartChecksumMismatch,
            TooLarge,
            StorageFull,
            RequestTimeout,
            TooManyUploads,
            InvalidRequest,
            UnsupportedMediaType,
            UnsupportedTusVersion,
        ),
    },
)
async def uploads_append(
    upload_id: UploadId, request: Request, services: ServicesDep, caller: CallerDep, resumable: ResumableDep
) -> Response:
    """Appends the request body (tus 1.0). If the connection is lost, the received bytes are kept, except for a body
    with `Upload-Checksum`, which is stored only if it is complete. The last byte completes the upload; if several
    processes of the service received the bytes, one of them computes the SHA-256 first, and the upload is `finalizing`.
    """
    with services.upload_slots.taken(caller.project_id):
        status = await resumable.append(upload_id, request.headers, request.stream())
    return Response(status_code=204, headers=status.headers())


@router.delete(
    "/{upload_id}",
    operation_id="uploads_delete",
    summary="Delete an upload",
    status_code=204,
    responses=problems(UploadNotFound, UnsupportedTusVersion),
)
def uploads_delete(upload_id: UploadId, engine: EngineDep, storage: StorageDep) -> None:
    """Deletes a complete or incomplete upload. Jobs that have not read it yet fail."""
    service.remove(engine, storage, upload_id)
