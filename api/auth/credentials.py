"""Reads the credentials of a request: an API key, or the cookie of a session of the dashboard."""

import base64
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

from api.auth.cookies import SESSION, Cookies

_MAX_TOKEN_CHARACTERS = 64


@dataclass(frozen=True)
class KeySecret:
    """The secret of an API key. Empty, which never matches a key, for unsupported credentials."""

    secret: str


@dataclass(frozen=True)
class SessionToken:
    """The token of a session of the dashboard. The browser adds it to every request, whoever caused the request."""

    token: str


Credentials = KeySecret | SessionToken | None


def read(scope: Scope, cookies: Cookies | None) -> Credentials:
    """The credentials of a request. A key outweighs a session. `cookies` is None where no sessions exist."""
    secret = _secret(Headers(scope=scope))
    if secret is not None:
        return KeySecret(secret)
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
