"""Reads the credentials of a request: an API key, a person whom a trusted proxy names, or a session's cookie."""

import base64
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

from api.auth import groups
from api.auth.credentials.cookies import SESSION, Cookies
from api.auth.proxies import is_from_trusted_proxy

_MAX_TOKEN_CHARACTERS = 64


@dataclass(frozen=True)
class KeySecret:
    """The secret of an API key. Empty, which never matches a key, for unsupported credentials."""

    secret: str


@dataclass(frozen=True)
class SessionToken:
    """The token of a session of the dashboard. The browser adds it to every request, also to requests that another site
    causes."""

    token: str


@dataclass(frozen=True)
class ProxyIdentity:
    """A person whom a trusted proxy has authenticated."""

    user_id: str
    name: str
    groups: tuple[str, ...]


Credentials = KeySecret | SessionToken | ProxyIdentity | None


class IdentityHeaders:
    """The headers in which a proxy names the person, such as `X-Forwarded-User` with the prefix `x-forwarded`."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def are_in(self, headers: Headers) -> bool:
        """Whether a request names a person. It may come from anyone."""
        return f"{self._prefix}-user" in headers

    def read(self, scope: Scope) -> ProxyIdentity | None:
        """The person, or None if the request does not come from a trusted proxy or names nobody.

        A header that occurs twice counts as missing: one of the two may be the client's.
        """
        if not is_from_trusted_proxy(scope):
            return None
        headers = Headers(scope=scope)
        values = {name: self._value(headers, name) for name in ("user", "email", "preferred-username", "groups")}
        user_id = values["user"]
        if not groups.is_user_id(user_id):
            return None
        claims = {"email": values["email"], "preferred_username": values["preferred-username"]}
        held = tuple(group.strip() for group in values["groups"].split(",") if group.strip())
        return ProxyIdentity(user_id, groups.display_name(claims, user_id), held)

    def _value(self, headers: Headers, name: str) -> str:
        found = headers.getlist(f"{self._prefix}-{name}")
        return found[0].strip() if len(found) == 1 else ""


def read(scope: Scope, cookies: Cookies | None, identity: IdentityHeaders | None) -> Credentials:
    """The credentials of a request. A key outweighs the proxy's headers, and these a session.

    `cookies` is None where no sessions exist, `identity` where headers of proxies are ignored.
    """
    secret = _secret(Headers(scope=scope))
    if secret is not None:
        return KeySecret(secret)
    person = None if identity is None else identity.read(scope)
    if person is not None:
        return person
    token = None if cookies is None else cookies.read(scope, SESSION)
    return None if token is None or len(token) > _MAX_TOKEN_CHARACTERS else SessionToken(token)


def _secret(headers: Headers) -> str | None:
    """The key in `Authorization`."""
    authorization = headers.get("authorization")
    if authorization is None:
        return None
    scheme, _, credentials = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return credentials.strip()
        case "basic":
            try:
                return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
            except ValueError:  # no base64, or no UTF-8
                return ""
        case _:
            return ""
