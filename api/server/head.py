"""HEAD for every route that supports GET."""

from anyio import CancelScope
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """Answers HEAD with the status and the headers of GET, unless a route handles HEAD itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or _has_route(scope):
            await self._app(scope, receive, send)
            return
        # An event stream or a large file would otherwise be produced for nobody.
        with CancelScope() as cancelled:

            async def send_head(message: Message) -> None:
                if message["type"] == "http.response.body":
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    if message.get("more_body", False):
                        cancelled.cancel()
                else:
                    await send(message)

            await self._app({**scope, "method": "GET"}, receive, send_head)


def _has_route(scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in scope["app"].routes)
