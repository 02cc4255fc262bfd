"""Middleware for allowed hosts, authentication, scopes and rate limits."""

import hmac
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Protocol, cast
from urllib.parse import urlencode

from anyio import to_thread
from sqlalchemy import Engine
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth import measuring
from api.auth.callers import Caller, Callers, current_caller
from api.auth.credentials import links, reading
from api.auth.credentials.cookies import Cookies
from api.auth.credentials.reading import Credentials, IdentityHeaders, KeySecret
from api.auth.origin import RequestOrigin
from api.auth.proxies import may_be_local
from api.auth.throttle import SignInThrottle
from api.http.errors import DATABASE_RETRY, database_unavailable, error_response, is_navigation
from ttm_jobs import models
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, session_scope
from ttm_jobs.errors import Forbidden, RateLimited, ServiceError, TooManyFailedSignIns, Unauthorized
from ttm_jobs.repositories.access import server_secrets
from ttm_jobs.settings import Settings
from ttm_jobs.uris import is_loopback

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?")
_PUBLIC_PATHS = ("/healthz", "/readyz")
_READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SIGN_IN_PAGE = "/sign-in"
# Pages and requests of a sign-in, which need no credentials.
_SIGN_IN_PATHS = frozenset({SIGN_IN_PAGE, "/sign-in/start", "/sign-in/callback", "/sign-in/key"})
_ATTEMPT_PATHS = frozenset({"/sign-in/callback", "/sign-in/key"})
# What everyone may change: their own session.
_SESSION_PATHS = frozenset({"/sign-out", "/session/project"})
# Basic lets a browser prompt for the key and send it with every request of a page. It comes first, because Chromium
# ignores the second challenge of a header.
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="ttm", charset="UTF-8", Bearer realm="ttm"'}
# Where a page asks for the key, the browser must not.
_SIGN_IN_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="ttm"'}
_BURST_SECONDS = 10.0
_MAX_BUCKETS = 10_000


class _Services(Protocol):
    """The part of `api.dependencies.Services` that authentication needs. That module imports this package."""

    callers: Callers
    engine: Engine
    throttle: SignInThrottle


class HostNotAllowed(ServiceError):
    """The `Host` header is not an allowed name of this service; see `TTM_ALLOWED_HOSTS`."""

    status = 421
    code = "host_not_allowed"


class _Throttled(Exception):
    """The address has to wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class AllowedHostsMiddleware:
    """Rejects requests with an unknown `Host` header, which protects against DNS rebinding. `error_page` renders the
    error for a browser.
    """

    def __init__(self, app: ASGIApp, settings: Settings, error_page: Callable[[Scope, ServiceError], Response]) -> None:
        self._app = app
        self._error_page = error_page
        self._names: Collection[str] = settings.allowed_hosts or (_LOOPBACK_NAMES if is_loopback(settings.host) else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._allows(scope):
            error = HostNotAllowed()
            shown = self._error_page(scope, error) if is_navigation(scope) else error_response(Request(scope), error)
            await shown(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        hosts = Headers(scope=scope).getlist("host")
        match = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        if match is None:
            # HTTP/1.0 permits a request without the header.
            return not hosts and not self._names
        return not self._names or (match["ipv6"] or match["name"]) in self._names


class AuthMiddleware:
    """Authenticates requests by API key, session or signed link, and enforces scopes and the rate limit.

    Health checks and static files are public. `cookies` is None where no one can sign in, `identity` where no proxy
    names people. `error_page` renders an error for a browser.
    """

    def __init__(
        self,
        app: ASGIApp,
        requests_per_second: float | None,
        metrics_token: str | None = None,
        cookies: Cookies | None = None,
        identity: IdentityHeaders | None = None,
        error_page: Callable[[Scope, ServiceError, Mapping[str, str]], Response] | None = None,
    ) -> None:
        self._app = app
        self._limit = None if requests_per_second is None else RateLimit(requests_per_second)
        self._link_secret: bytes | None = None
        self._metrics_token = metrics_token
        self._cookies = cookies
        self._identity = identity
        self._error_page = error_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _PUBLIC_PATHS or scope["path"].startswith("/static/"):
            await self._app(scope, receive, send)
            return
        headers: Mapping[str, str] = {}
        error: ServiceError | None = None
        wait = 0.0
        try:
            if self._cookies is not None and scope["path"] in _SIGN_IN_PATHS:
                if scope["path"] in _ATTEMPT_PATHS:
                    self._throttle(scope)
                wait = self._wait(_address(scope))
            else:
                caller = await self._caller(scope)
                scope.setdefault("state", {}).update(caller=caller, may_read=partial(self._may_read, scope, caller))
                current_caller.set(caller)
                wait = self._wait(caller.rate_name or _address(scope))
        except Unauthorized as unauthorized:
            error, headers = unauthorized, _CHALLENGE if self._cookies is None else _SIGN_IN_CHALLENGE
            wait = self._wait(_address(scope))
        except Forbidden as forbidden:
            error = forbidden
        except _Throttled as throttled:
            error, headers = TooManyFailedSignIns(), {"Retry-After": str(math.ceil(throttled.seconds))}
        except DATABASE_UNAVAILABLE as failure:
            error, headers = database_unavailable(failure), DATABASE_RETRY
        if wait:
            error, headers = RateLimited(), {"Retry-After": str(math.ceil(wait))}
        response = self._app if error is None else error_response(Request(scope), error, headers=headers)
        if error is not None and is_navigation(scope):
            response = self._page(error, headers, scope) or response
        await response(scope, receive, send)

    def _page(self, error: ServiceError, headers: Mapping[str, str], scope: Scope) -> Response | None:
        """What a person sees instead of a problem document."""
        if isinstance(error, Unauthorized) and self._cookies is not None:
            return RedirectResponse(_sign_in_address(scope), 303, headers={"Cache-Control": "no-store"})
        return None if self._error_page is None else self._error_page(scope, error, headers)

    def _throttle(self, scope: Scope) -> None:
        """Raises _Throttled while the address has too many failed sign-ins."""
        wait = cast(_Services, scope["app"].state.services).throttle.wait(_address(scope))
        if wait:
            raise _Throttled(wait)

    def _wait(self, name: str) -> float:
        """Seconds until a key or an address may send another request; 0.0 if it may now."""
        return 0.0 if self._limit is None else self._limit.wait(name)

    async def _caller(self, scope: Scope) -> Caller:
        services = cast(_Services, scope["app"].state.services)
        given = reading.read(scope, self._cookies, self._identity)
        if scope["method"] in _READ_METHODS and links.is_signed(scope["query_string"]):
            caller = await self._caller_of_link(services, scope)
            if caller is not None:
                return caller
            if given is None:
                raise Unauthorized("The link has expired or its signature is invalid.")
        if given is None and not may_be_local(scope):
            raise Unauthorized(
                "Requests through a proxy require an API key, unless the client is on the service's machine and "
                "TTM_TRUSTED_PROXIES lists the proxy."
            )
        if scope["path"] == "/metrics" and self._is_metrics_token(given):
            return Caller(models.DEFAULT_PROJECT, models.Scope.ADMIN)
        caller = services.callers.cached(given)
        if caller is None:
            if isinstance(given, KeySecret) and not services.callers.has_seen(given):
                self._throttle(scope)
            caller = await to_thread.run_sync(services.callers.look_up, given)
        if caller is None:
            # A session that ended is no failed sign-in: its page may still poll.
            if isinstance(given, KeySecret):
                origin = RequestOrigin.of(Request(scope))
                await to_thread.run_sync(services.throttle.failed, origin, "API key")
                raise Unauthorized("The API key is unknown, revoked or expired.")
            raise Unauthorized
        if caller.scope is models.Scope.MEASURE and measuring.allows(scope["method"], scope["path"]):
            return caller
        reads = scope["method"] in _READ_METHODS or (caller.has_session and scope["path"] in _SESSION_PATHS)
        required = models.Scope.READ if reads else models.Scope.SUBMIT
        if not caller.scope.includes(required):
            raise Forbidden(f"This request requires scope {required} or higher; yours is {caller.scope}.")
        return caller

    async def _may_read(self, scope: Scope, caller: Caller) -> bool:
        """Whether the credentials of a request that lasts still give read access to the same project. They are assumed
        to do so while the database is unavailable.
        """
        callers = cast(_Services, scope["app"].state.services).callers
        given = reading.read(scope, self._cookies, self._identity)
        try:
            found = callers.cached(given) or await to_thread.run_sync(callers.look_up, given)
        except Forbidden:
            return False
        except DATABASE_UNAVAILABLE:
            return True
        return found is not None and found.project_id == caller.project_id and found.scope.includes(models.Scope.READ)

    def _is_metrics_token(self, given: Credentials) -> bool:
        # Checked without the database, so that Prometheus still gets metrics when the database is down.
        return (
            self._metrics_token is not None
            and isinstance(given, KeySecret)
            and hmac.compare_digest(given.secret.encode(), self._metrics_token.encode())
        )

    async def _caller_of_link(self, services: _Services, scope: Scope) -> Caller | None:
        if self._link_secret is None:

            def read() -> bytes:
                with session_scope(services.engine) as session:
                    return server_secrets.ensure(session, links.SECRET)

            self._link_secret = await to_thread.run_sync(read)
        project_id = links.project_of_link(self._link_secret, scope["path"], scope["query_string"])
        return None if project_id is None else Caller(project_id, models.Scope.READ)


class RateLimit:
    """A token bucket per key or address in this process. It holds the tokens of ten seconds; a request takes one."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._size = max(1.0, per_second * _BURST_SECONDS)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str) -> float:
        """Takes a token and returns 0.0, or returns the seconds until the caller has one."""
        now = time.monotonic()
        tokens, since = self._buckets.pop(name, (self._size, now))
        tokens = min(self._size, tokens + (now - since) * self._per_second)
        allowed = tokens >= 1
        self._buckets[name] = (tokens - 1 if allowed else tokens, now)
        while len(self._buckets) > _MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self._per_second


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return "" if client is None else str(client[0])


def _sign_in_address(scope: Scope) -> str:
    query = scope["query_string"].decode("ascii", "replace")
    return f"{SIGN_IN_PAGE}?{urlencode({'next': scope['path'] + (f'?{query}' if query else '')})}"
