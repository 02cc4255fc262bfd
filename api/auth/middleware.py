"""The gate: nothing but the health checks and the style sheets is answered before it is known who asks."""

import base64
import hmac
import math
from binascii import Error as NotBase64
from collections.abc import Collection, Mapping
from typing import cast

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth import links
from api.auth.callers import Caller
from api.auth.loopback import NAMES, is_loopback
from api.auth.rate_limit import RateLimit
from api.dependencies import Services
from api.http.errors import DatabaseUnavailable, refuse
from ttm_jobs import models
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, session_scope
from ttm_jobs.errors import Forbidden, RateLimited, ServiceError, Unauthorized
from ttm_jobs.repositories.access import server_secrets
from ttm_jobs.settings import Settings

_OPEN = ("/healthz", "/readyz")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
# Basic is for browsers, which then ask for the key themselves and send it with every request of a page. It comes first:
# Chromium reads no second challenge of a header.
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="ttm", charset="UTF-8", Bearer realm="ttm"'}


class HostNotAllowed(ServiceError):
    """The request's Host is not a name of this service."""

    status = 421
    code = "host_not_allowed"


class AllowedHosts:
    """Refuses a Host that is not this service's, by which a page elsewhere could have a browser read from here."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._names: Collection[str] = settings.allowed_hosts or (NAMES if is_loopback(settings.host) else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._names and _host(scope) not in self._names:
            await refuse(Request(scope), HostNotAllowed())(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Gate:
    """Knows the caller by a key or a signed link, lets it do what its scope allows, and bounds how often."""

    def __init__(self, app: ASGIApp, requests_per_second: float | None, metrics_token: str | None = None) -> None:
        self._app = app
        self._limit = None if requests_per_second is None else RateLimit(requests_per_second)
        self._link_secret: bytes | None = None
        self._metrics_token = metrics_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN or scope["path"].startswith("/static/"):
            await self._app(scope, receive, send)
            return
        headers: Mapping[str, str] = {}
        refusal: ServiceError | None = None
        try:
            caller = await self._caller(scope)
            scope.setdefault("state", {})["caller"] = caller
            wait = 0.0 if self._limit is None else self._limit.wait(caller.key_id or caller.project_id)
            if wait:
                refusal, headers = RateLimited(), {"Retry-After": str(math.ceil(wait))}
        except Unauthorized as error:
            refusal, headers = error, _CHALLENGE
        except Forbidden as error:
            refusal = error
        except DATABASE_UNAVAILABLE:
            refusal, headers = DatabaseUnavailable(), {"Retry-After": "2"}
        answer = self._app if refusal is None else refuse(Request(scope), refusal, headers=headers)
        await answer(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        services = cast(Services, scope["app"].state.services)
        if scope["method"] in _READING and links.is_signed(scope["query_string"]):
            return await self._of_link(services, scope)
        secret = _secret(Headers(scope=scope))
        if scope["path"] == "/metrics" and self._is_metrics_token(secret):
            return Caller(models.DEFAULT_PROJECT, models.Scope.ADMIN)
        caller = services.callers.remembered(secret) or await to_thread.run_sync(services.callers.look_up, secret)
        if caller is None:
            raise Unauthorized
        needed = models.Scope.READ if scope["method"] in _READING else models.Scope.SUBMIT
        if not caller.scope.includes(needed):
            raise Forbidden(f"This needs a key of scope {needed} or more; the key's is {caller.scope}.")
        return caller

    def _is_metrics_token(self, secret: str | None) -> bool:
        # Known without the database, so that Prometheus hears when that is away.
        return (
            self._metrics_token is not None
            and secret is not None
            and hmac.compare_digest(secret.encode(), self._metrics_token.encode())
        )

    async def _of_link(self, services: Services, scope: Scope) -> Caller:
        if self._link_secret is None:

            def read() -> bytes:
                with session_scope(services.engine) as session:
                    return server_secrets.ensure(session, links.SECRET)

            self._link_secret = await to_thread.run_sync(read)
        project_id = links.project_of_link(self._link_secret, scope["path"], scope["query_string"])
        if project_id is None:
            raise Unauthorized("The link has expired, or is not as it was given out.")
        return Caller(project_id, models.Scope.READ)


def _secret(headers: Headers) -> str | None:
    """The key in `Authorization`; empty, which no key is, for credentials of another kind."""
    given = headers.get("authorization")
    if given is None:
        return None
    scheme, _, credentials = given.partition(" ")
    match scheme.lower():
        case "bearer":
            return credentials.strip()
        case "basic":
            try:
                return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
            except (NotBase64, UnicodeDecodeError):
                return ""
        case _:
            return ""


def _host(scope: Scope) -> str:
    host = Headers(scope=scope).get("host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return name.strip("[]").lower()
