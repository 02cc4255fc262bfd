"""Requests that a reverse proxy forwarded. They come from a loopback address, but not from a user of this machine."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from ttm_jobs.uris import is_loopback

_NAMES = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip"}
)
_PREFIXES = ("x-forwarded", "x-original-", "x-envoy-", "fastly-client-")


class ForwardedMiddleware:
    """Marks requests with forwarding headers, and replaces client and scheme by the forwarded ones if the proxy is
    trusted.
    """

    def __init__(self, app: ASGIApp, trusted: Collection[str]) -> None:
        # A proxy that does not name the client is not trusted either.
        self._trusted = frozenset(trusted)
        self._app = app
        # uvicorn's middleware has types of its own for the same protocol.
        self._rewriting: ASGIApp = ProxyHeadersMiddleware(app, list(trusted))  # type: ignore[arg-type, assignment]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_forwarded(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        client, headers = scope.get("client"), Headers(scope=scope)
        trusted = client is not None and client[0] in self._trusted and headers.get("x-forwarded-for", "") != ""
        scope.setdefault("state", {})["forwarded"] = "trusted" if trusted else "untrusted"
        await (self._rewriting if trusted else self._app)(scope, receive, send)


def is_forwarded(headers: Headers) -> bool:
    """Whether a request has headers that proxies add."""
    return any(name in _NAMES or name.startswith(_PREFIXES) for name in headers)


def is_from_trusted_proxy(scope: Scope) -> bool:
    """Whether a listed proxy forwarded the request and names the client."""
    return bool(scope.get("state", {}).get("forwarded") == "trusted")


def may_be_local(scope: Scope) -> bool:
    """Whether a request on a loopback address may come from a user of this machine."""
    match scope.get("state", {}).get("forwarded"):
        case None:
            return True
        case "trusted":
            client = scope.get("client")
            return client is not None and is_loopback(client[0])
        case _:
            return False
