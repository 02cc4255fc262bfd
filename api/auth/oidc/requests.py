"""Authorization requests in progress. A signed cookie carries them, so that they need no row before they succeed."""

import base64
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from hashlib import sha256

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from api.auth.oidc.errors import SignInRefused

# The name of the signing secret in the table of server secrets.
SECRET = "sign-in"
LIFETIME_SECONDS = 600
HOME = "/"
# Paths of this service only: "//host" and "/\host" would lead to another one.
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,1023}")
_ALGORITHM = "HS256"


@dataclass(frozen=True)
class AuthorizationRequest:
    """A sign-in that has started: its `state`, the path to show afterwards, and its end in seconds since 1970."""

    state: str
    path: str
    expires: int

    def nonce(self, secret: bytes) -> str:
        """Ties the ID token to this request."""
        return _derived(secret, f"nonce {self.state}")

    def verifier(self, secret: bytes) -> str:
        """The PKCE code verifier. It never leaves the service before the exchange."""
        return _derived(secret, f"verifier {self.state}")

    def sign(self, secret: bytes) -> str:
        """The cookie's value."""
        claims = {"state": self.state, "path": self.path, "exp": self.expires}
        return jwt.encode({"alg": _ALGORITHM}, claims, OctKey.import_key(secret))


def start(path: str) -> AuthorizationRequest:
    """A new request, which must return within ten minutes."""
    return AuthorizationRequest(secrets.token_urlsafe(32), local_path(path), int(time.time()) + LIFETIME_SECONDS)


def resume(secret: bytes, cookie: str | None, state: str) -> AuthorizationRequest:
    """The request that this browser started. Raises SignInRefused."""
    if cookie is None:
        raise SignInRefused("This browser did not start the sign-in, or its cookie is gone. Start again.")
    try:
        claims = jwt.decode(cookie, OctKey.import_key(secret), algorithms=[_ALGORITHM]).claims
        request = AuthorizationRequest(str(claims["state"]), local_path(str(claims["path"])), int(claims["exp"]))
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise SignInRefused from error
    if request.expires <= time.time():
        raise SignInRefused("The sign-in took longer than ten minutes. Start again.")
    if not hmac.compare_digest(request.state.encode(), state.encode()):
        raise SignInRefused("The sign-in does not belong to this browser. Start again.")
    return request


def local_path(path: str) -> str:
    """The path if it is one of this service, else `/`: a sign-in never redirects elsewhere."""
    return path if _LOCAL_PATH.fullmatch(path) else HOME


def _derived(secret: bytes, purpose: str) -> str:
    digest = hmac.new(secret, purpose.encode(), sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
