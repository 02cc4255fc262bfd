"""HTTP errors and the exception handlers that turn them into problem documents."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from api.http.conditional_requests import NotModified, RangeNotSatisfiable, not_modified
from api.http.field_errors import field_error, summary
from api.http.problems import MAX_FIELDS, FieldErrors, problem_response
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, describe_error
from ttm_jobs.errors import Invalid, ServiceError, TooLarge

log = structlog.get_logger()


class InvalidRequest(Invalid):
    """The request does not match the schema."""

    code = "invalid_request"


class ManyFieldErrors(RequestValidationError):
    """A body with `count` errors. Lists only the first ones."""

    def __init__(self, errors: Sequence[Any], body: Any, count: int) -> None:
        super().__init__(errors, body=body)
        self.count = count


class MalformedBody(ServiceError):
    """The body is not valid JSON in UTF-8."""

    status = 400
    code = "malformed_body"


class UnsupportedMediaType(ServiceError):
    """The body must be JSON: send `Content-Type: application/json`."""

    status = 415
    code = "unsupported_media_type"


class RequestTimeout(ServiceError):
    """The body arrived too slowly; see `TTM_BODY_TIMEOUT_SECONDS`. Bytes of a resumable upload are kept."""

    status = 408
    code = "request_timeout"


class BodyTimeout(HTTPException):
    """Raised while a body is read. FastAPI turns other exceptions than HTTPException into 400."""

    def __init__(self) -> None:
        super().__init__(RequestTimeout.status)


class TooManyUploads(ServiceError):
    """Too many uploads are in progress: wait for the time in `Retry-After`."""

    status = 429
    code = "too_many_uploads"


class TooManyInspections(ServiceError):
    """Too many checkpoints are being inspected: wait for the time in `Retry-After`."""

    status = 429
    code = "too_many_inspections"


class TooManyPredictions(ServiceError):
    """Too many images are being classified: wait for the time in `Retry-After`."""

    status = 429
    code = "too_many_predictions"


class ReaderUnavailable(ServiceError):
    """The process that reads the file was killed, or its disk is full. Try again; this says nothing about the file."""

    status = 503
    code = "reader_unavailable"


class NoSuchRoute(ServiceError):
    """No route matches this path."""

    status = 404
    code = "no_such_route"


class MethodNotAllowed(ServiceError):
    """The path does not support this method. The `Allow` header lists the supported methods."""

    status = 405
    code = "method_not_allowed"


class InputNotFound(Invalid):
    """A URI in the spec refers to something that does not exist."""

    code = "input_not_found"


class InvalidCursor(Invalid):
    """The cursor is invalid: pass the `next_cursor` of the previous page."""

    code = "invalid_cursor"


class UnsupportedTusVersion(ServiceError):
    """Resumable uploads require the header `Tus-Resumable: 1.0.0`."""

    status = 412
    code = "unsupported_tus_version"


class StreamEnded(Exception):
    """The job has ended and the client has all events: the response is 204, after which browsers do not reconnect."""


class DatabaseUnavailable(ServiceError):
    """The database is unavailable. Nothing was changed; try again."""

    status = 503
    code = "database_unavailable"


# The header of responses to requests that need the database while it is unavailable.
DATABASE_RETRY: Mapping[str, str] = {"Retry-After": "2"}
_CLIENT_CLOSED_REQUEST = 499
_HTTP: dict[int, type[ServiceError]] = {
    400: MalformedBody,
    404: NoSuchRoute,
    405: MethodNotAllowed,
    408: RequestTimeout,
    413: TooLarge,
    415: UnsupportedMediaType,
}


def register(app: FastAPI) -> None:
    """Registers the exception handlers."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(StreamEnded, _stream_ended)
    app.add_exception_handler(NotModified, _not_modified)
    app.add_exception_handler(ClientDisconnect, _client_disconnected)
    for unavailable in DATABASE_UNAVAILABLE:
        app.add_exception_handler(unavailable, _database_error)


def error_response(request: Request, error: ServiceError, *, headers: Mapping[str, str] | None = None) -> Response:
    """The problem response for an error."""
    match error:
        case FieldErrors(first=first, fields=fields):
            return problem_response(request.scope, first.status, first.code, error.message, fields=fields)
        case RangeNotSatisfiable(size=size):
            headers = {"Content-Range": f"bytes */{size}"}
        case UnsupportedTusVersion():
            headers = {"Tus-Version": "1.0.0"}
        case TooManyUploads() | TooManyInspections() | TooManyPredictions() | ReaderUnavailable():
            headers = {"Retry-After": "5"}
    return problem_response(request.scope, error.status, error.code, error.message, headers=headers)


def database_unavailable(error: Exception) -> DatabaseUnavailable:
    """Logs an error of the database's driver and returns the one that clients see."""
    log.warning("database unavailable", error=describe_error(error))
    return DatabaseUnavailable()


def is_navigation(scope: Scope) -> bool:
    """Whether a browser asks for a page, rather than a script of a page or another client."""
    headers = Headers(scope=scope)
    mode = headers.get("sec-fetch-mode", "navigate")
    return scope["method"] == "GET" and mode == "navigate" and "text/html" in headers.get("accept", "")


async def _stream_ended(request: Request, error: Exception) -> Response:
    return Response(status_code=204)


async def _not_modified(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotModified)
    return not_modified(error)


async def _client_disconnected(request: Request, error: Exception) -> Response:
    # Nobody receives this response; the status appears in the log.
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return error_response(request, error)


async def _database_error(request: Request, error: Exception) -> Response:
    return error_response(request, database_unavailable(error), headers=DATABASE_RETRY)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = _HTTP.get(error.status_code)
    code = known.code if known else f"http_{error.status_code}"
    # Starlette's default detail only repeats the status.
    has_detail = error.detail != HTTPStatus(error.status_code).phrase
    detail = str(error.detail) if has_detail or known is None else known().message
    headers = error.headers
    if error.status_code == MethodNotAllowed.status:
        headers = {**(headers or {}), "Allow": ", ".join(sorted(_methods(request, headers)))}
    return problem_response(request.scope, error.status_code, code, detail, headers=headers)


def _methods(request: Request, headers: Mapping[str, str] | None) -> set[str]:
    """All methods of a path. The router reports only those of its first matching route."""
    reported = {method.strip() for method in (headers or {}).get("Allow", "").split(",")} - {""}
    path = getattr(request.scope.get("route"), "path", None)
    methods = reported | {method.upper() for method in request.app.openapi()["paths"].get(path, ())}
    return methods | {"HEAD"} if "GET" in methods else methods


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults: Sequence[dict[str, Any]] = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        return error_response(request, MalformedBody(f"The body is not JSON: {faults[0]['ctx']['error']}."))
    if isinstance(error.body, bytes) and error.body and any(fault["loc"] == ("body",) for fault in faults):
        return error_response(request, UnsupportedMediaType())
    body_field = getattr(request.scope.get("route"), "body_field", None)
    model = None if body_field is None else body_field.field_info.annotation
    fields = [field_error(fault, error.body, model) for fault in faults[:MAX_FIELDS]]
    count = error.count if isinstance(error, ManyFieldErrors) else len(faults)
    return problem_response(
        request.scope,
        InvalidRequest.status,
        InvalidRequest.code,
        summary(fields[0], others=count - 1),
        fields=fields,
        field_count=count,
    )
