"""Every way a request can fail, turned into a problem."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api.http.conditional import NotModified, not_modified
from api.http.problems import FieldError, Refusal, problem_response
from ttm_jobs.errors import Invalid, ServiceError, TooLarge

log = structlog.get_logger()


class InvalidRequest(Invalid):
    """The request does not have the form that the schema gives it."""

    code = "invalid_request"


class MalformedBody(ServiceError):
    """The body is not JSON in UTF-8."""

    status = 400
    code = "malformed_body"


class UnsupportedMediaType(ServiceError):
    """The body must be JSON: send `Content-Type: application/json`."""

    status = 415
    code = "unsupported_media_type"


class NoSuchRoute(ServiceError):
    """There is nothing at this path."""

    status = 404
    code = "no_such_route"


class MethodNotAllowed(ServiceError):
    """This path does not answer to this method."""

    status = 405
    code = "method_not_allowed"


class InputNotFound(Invalid):
    """An address in the spec names nothing."""

    code = "input_not_found"


class InvalidCursor(Invalid):
    """The cursor is not one that this service gave out."""

    code = "invalid_cursor"


class RangeNotSatisfiable(ServiceError):
    """The range lies outside the file."""

    status = 416
    code = "range_not_satisfiable"

    def __init__(self, size: int = 0) -> None:
        super().__init__(f"The file has {size} bytes.")
        self.size = size


class UnsupportedTusVersion(ServiceError):
    """Resumable uploads need `Tus-Resumable: 1.0.0`."""

    status = 412
    code = "unsupported_tus_version"


class NothingNew(Exception):
    """The stream that was asked for is over: 204, which tells a browser not to come back."""


class DatabaseUnavailable(ServiceError):
    """The database does not answer; nothing was changed. Try again."""

    status = 503
    code = "database_unavailable"


_CLIENT_CLOSED_REQUEST = 499
_HTTP: dict[int, type[ServiceError]] = {
    400: MalformedBody,
    404: NoSuchRoute,
    405: MethodNotAllowed,
    413: TooLarge,
    415: UnsupportedMediaType,
}


def register(app: FastAPI) -> None:
    """Give the app its exception handlers."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(NothingNew, _nothing_new)
    app.add_exception_handler(NotModified, _not_modified)
    app.add_exception_handler(ClientDisconnect, _client_gone)
    for away in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(away, _database_error)


def refuse(request: Request, error: ServiceError, *, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for an error of the tree."""
    match error:
        case Refusal(first=first, fields=fields):
            return problem_response(request.scope, first.status, first.code, error.message, fields=fields)
        case RangeNotSatisfiable(size=size):
            headers = {"Content-Range": f"bytes */{size}"}
        case UnsupportedTusVersion():
            headers = {"Tus-Version": "1.0.0"}
    return problem_response(request.scope, error.status, error.code, error.message, headers=headers)


async def _nothing_new(request: Request, error: Exception) -> Response:
    return Response(status_code=204)


async def _not_modified(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotModified)
    return not_modified(error)


async def _client_gone(request: Request, error: Exception) -> Response:
    # Nobody reads this; the status is for the log.
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return refuse(request, error)


async def _database_error(request: Request, error: Exception) -> Response:
    # The statement and its values stay out of the answer; the log has the driver's words.
    cause = error.orig if isinstance(error, DBAPIError) else error
    log.warning("database unavailable", error=f"{type(cause).__name__}: {cause}")
    return refuse(request, DatabaseUnavailable(), headers={"Retry-After": "2"})


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = _HTTP.get(error.status_code)
    code = known.code if known else f"http_{error.status_code}"
    # The framework's default detail only repeats the status.
    says_more = error.detail != HTTPStatus(error.status_code).phrase
    detail = str(error.detail) if says_more or known is None else known().message
    headers = error.headers
    if error.status_code == MethodNotAllowed.status:
        headers = {**(headers or {}), "Allow": ", ".join(sorted(_methods(request, headers)))}
    return problem_response(request.scope, error.status_code, code, detail, headers=headers)


def _methods(request: Request, headers: Mapping[str, str] | None) -> set[str]:
    """All that a path answers to; the router tells of the first of its routes alone."""
    told = {method.strip() for method in (headers or {}).get("Allow", "").split(",")} - {""}
    path = getattr(request.scope.get("route"), "path", None)
    return told | {method.upper() for method in request.app.openapi()["paths"].get(path, ())}


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults: Sequence[dict[str, Any]] = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        return refuse(request, MalformedBody(f"The body is not JSON: {faults[0]['ctx']['error']}."))
    if isinstance(error.body, bytes) and error.body and any(fault["loc"] == ("body",) for fault in faults):
        return refuse(request, UnsupportedMediaType())
    fields = [_field(fault, error.body) for fault in faults]
    return problem_response(
        request.scope, InvalidRequest.status, InvalidRequest.code, InvalidRequest().message, fields=fields
    )


def _field(fault: dict[str, Any], body: Any) -> FieldError:
    where, *path = fault["loc"]
    detail = fault["msg"].removeprefix("Value error, ")
    if where == "body":
        return FieldError(pointer=pointer(_without_tags(path, body, fault["type"])), detail=detail, where="body")
    return FieldError(pointer=pointer(path), detail=detail, where=where if where in ("query", "path") else "header")


def pointer(path: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901); empty for the whole document."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _without_tags(path: Sequence[str | int], body: Any, kind: str) -> list[str | int]:
    """Keep of pydantic's path what is in the document: the tag of a union's variant is in the path, but is no field."""
    kept: list[str | int] = []
    at = body
    for index, part in enumerate(path):
        match at, part:
            case dict(), str() if part in at:
                at = at[part]
            case list(), int() if part < len(at):
                at = at[part]
            case dict(), str() if index == len(path) - 1 and kind == "missing":
                at = None
            case dict(), str():
                continue
            case _:
                # A string that is short for an object: what is wrong inside it is wrong with it.
                break
        kept.append(part)
    return kept
