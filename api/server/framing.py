"""Requests whose length is ambiguous are refused: a proxy in front of the service might read it differently."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.errors import error_response
from ttm_jobs.errors import ServiceError


class AmbiguousLength(ServiceError):
    """The request has both `Content-Length` and `Transfer-Encoding`."""

    status = 400
    code = "ambiguous_length"


class FramingMiddleware:
    """Answers 400 and closes the connection if a request has Content-Length and Transfer-Encoding (RFC 9112, 6.1)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if "content-length" in headers and "transfer-encoding" in headers:
                response = error_response(Request(scope), AmbiguousLength(), headers={"Connection": "close"})
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
