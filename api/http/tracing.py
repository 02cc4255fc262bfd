"""A span for each request; one that names its own trace is part of that."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ttm_jobs.telemetry import traces

_QUIET = ("/healthz", "/readyz", "/metrics", "/static/")


class Traced:
    """Stands within RequestContext, whose id the span carries."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_QUIET):
            await self._app(scope, receive, send)
            return
        parent = Headers(scope=scope).get("traceparent")
        method = scope["method"]
        with traces.span(method, parent=parent, **{"ttm.request_id": scope["state"]["request_id"]}) as span:

            async def send_told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    route = str(getattr(scope.get("route"), "path", "none"))
                    attributes = {"http.route": route, "http.response.status_code": message["status"]}
                    span.update(name=f"{method} {route}", **attributes)
                await send(message)

            await self._app(scope, receive, send_told)
