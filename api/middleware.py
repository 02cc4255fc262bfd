"""ASGI middleware for all requests: request ids, access log, unhandled errors, origin check and body size limit."""

import re
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth.callers import Caller
from api.auth.credentials.cookies import has_session
from api.auth.credentials.reading import IdentityHeaders
from api.http.errors import is_navigation
from api.http.headers.versions import VERSION_HEADER
from api.http.problems import problem_response
from ttm_jobs.database.ids import new_id
from ttm_jobs.errors import ServiceError, TooLarge

log = structlog.get_logger()

# An API key sent in the wrong header must not reach the log, hence the negative lookahead.
_REQUEST_ID = re.compile(r"(?!ttm_)[A-Za-z0-9._-]{1,64}")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Pages load resources from this service only, and inline scripts are blocked, so that a hostile job name stays text.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class InternalError(ServiceError):
    """Internal error. Search the service's log for the request id."""

    code = "internal_error"


class CrossOrigin(ServiceError):
    """Pages of another origin cannot change anything on this service."""

    status = 403
    code = "cross_origin"


class RequestContextMiddleware:
    """Assigns the request id, adds it to the response and to each log line, and turns unhandled errors into 500.

    `error_page` renders an error for a browser.
    """

    def __init__(self, app: ASGIApp, error_page: Callable[[Scope, ServiceError], Response] | None = None) -> None:
        self._app = app
        self._error_page = error_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        requested_id = Headers(scope=scope).get("x-request-id", "")
        request_id = requested_id if _REQUEST_ID.fullmatch(requested_id) else new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in {**scope["state"].get("response_headers", {}), **VERSION_HEADER, **_HEADERS}.items():
                    headers.setdefault(name, value)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_headers)
            except Exception:
                log.exception("unhandled error", method=scope["method"], path=scope["path"])
                if status:
                    # The response has started. Only a dropped connection signals the error to the client.
                    raise
                failure = InternalError()
                if self._error_page is not None and is_navigation(scope):
                    response = self._error_page(scope, failure)
                else:
                    response = problem_response(scope, failure.status, failure.code, failure.message)
                await response(scope, receive, send_with_headers)
            finally:
                log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    milliseconds=round((time.perf_counter() - started) * 1000, 1),
                    **_client_of(scope),
                )


def _client_of(scope: Scope) -> dict[str, str]:
    """The client's address, and the key or person of an authenticated request."""
    client, caller = scope.get("client"), scope["state"].get("caller")
    found = {"address": None if client is None else client[0]}
    if isinstance(caller, Caller):
        found |= {"key_id": caller.key_id, "user_id": caller.user_id}
    return {name: value for name, value in found.items() if value is not None}


class SameOriginMiddleware:
    """Rejects unsafe requests from pages of another origin. A browser on this machine can reach loopback, too.

    A browser adds cookies to requests of any page, so a request that only a cookie authenticates must name its origin:
    the cookie of a session here, or of a proxy that names the person in `identity`. Browsers do so in every unsafe
    request.
    """

    def __init__(self, app: ASGIApp, identity: IdentityHeaders | None = None) -> None:
        self._app = app
        self._identity = identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            by_proxy = self._identity is not None and self._identity.are_in(headers)
            only_cookie = "authorization" not in headers and (has_session(headers) or by_proxy)
            if only_cookie if origin is None else _host_of(origin) != headers.get("host"):
                error = CrossOrigin()
                await problem_response(scope, error.status, error.code, error.message)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


class BodyLimitMiddleware:
    """Limits the size of request bodies, by Content-Length and by the bytes received.

    `limit` returns the maximum number of bytes of a request, or None for no limit.
    """

    def __init__(self, app: ASGIApp, limit: Callable[[Scope], int | None]) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._limit(scope) if scope["type"] == "http" else None
        if limit is None:
            await self._app(scope, receive, send)
            return
        detail = f"The request body is larger than the limit of {limit} bytes."
        content_length = Headers(scope=scope).get("content-length", "")
        if content_length.isdecimal() and int(content_length) > limit:
            # The body is not read, so the connection cannot be reused.
            response = problem_response(scope, TooLarge.status, TooLarge.code, detail, headers={"Connection": "close"})
            await response(scope, receive, send)
            return
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise HTTPException(TooLarge.status, detail)
            return message

        await self._app(scope, receive_limited, send)
