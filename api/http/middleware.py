"""What surrounds every request: its id, its log line, its safety net, the size of its body. Pure ASGI."""

import re
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import problem_response
from ttm_jobs.database.ids import new_id
from ttm_jobs.errors import ServiceError, TooLarge

log = structlog.get_logger()

# A key that was put into the wrong header is not to be logged as one.
_REQUEST_ID = re.compile(r"(?!ttm_)[A-Za-z0-9._-]{1,64}")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Pages load only what this service itself serves; nothing inline runs, so that a hostile name stays text.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class InternalError(ServiceError):
    """The service failed. The request id leads to the cause in its log."""

    code = "internal_error"


class CrossOrigin(ServiceError):
    """A page of another site may not change anything here."""

    status = 403
    code = "cross_origin"


class RequestContext:
    """Names the request in its answer and in every log line, and answers for errors that nothing else caught."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_named)
            except Exception:
                log.exception("unhandled error", method=scope["method"], path=scope["path"])
                if status:
                    # Half an answer is out. Only a broken connection tells the client so.
                    raise
                failure = InternalError()
                await problem_response(scope, failure.status, failure.code, failure.message)(scope, receive, send_named)
            finally:
                log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    milliseconds=round((time.perf_counter() - started) * 1000, 1),
                )


class SameOrigin:
    """Refuses changes asked for by a page of another site: a browser on this machine reaches loopback, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != headers.get("host"):
                refusal = CrossOrigin()
                await problem_response(scope, refusal.status, refusal.code, refusal.message)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class BodyLimit:
    """Bounds the body of every request but those that `exempt` names, by its announced and by its real length."""

    def __init__(self, app: ASGIApp, limit: int, exempt: Callable[[Scope], bool]) -> None:
        self._app = app
        self._limit = limit
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._exempt(scope):
            await self._app(scope, receive, send)
            return
        detail = f"The body is larger than {self._limit} bytes."
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._limit:
            # The rest of the body will not be read, so the connection cannot be used again.
            refusal = problem_response(scope, TooLarge.status, TooLarge.code, detail, headers={"Connection": "close"})
            await refusal(scope, receive, send)
            return
        received = 0

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._limit:
                    raise HTTPException(TooLarge.status, detail)
            return message

        await self._app(scope, receive_bounded, send)
