"""The cookies of the dashboard: HttpOnly, SameSite=Lax, and Secure where browsers use https."""

from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import Scope

SESSION = "ttm_session"
SIGN_IN = "ttm_sign_in"


@dataclass(frozen=True)
class Cookies:
    """Reads and writes cookies. `always_secure`: browsers use https, although a proxy forwards requests as http."""

    always_secure: bool

    def read(self, scope: Scope, name: str) -> str | None:
        """A cookie of a request."""
        header = "; ".join(Headers(scope=scope).getlist("cookie"))
        return cookie_parser(header).get(self._name(scope, name))

    def set(self, response: Response, scope: Scope, name: str, value: str, *, seconds: int) -> None:
        """Sets a cookie for a limited time."""
        response.set_cookie(
            self._name(scope, name),
            value,
            max_age=seconds,
            secure=self._is_secure(scope),
            httponly=True,
            samesite="lax",
        )

    def delete(self, response: Response, scope: Scope, name: str) -> None:
        """Deletes a cookie."""
        self.set(response, scope, name, "", seconds=0)

    def _is_secure(self, scope: Scope) -> bool:
        return self.always_secure or scope.get("scheme") == "https"

    def _name(self, scope: Scope, name: str) -> str:
        # The prefix keeps other hosts of the domain, and http pages, from setting the cookie.
        return f"__Host-{name}" if self._is_secure(scope) else name


def has_session(headers: Headers) -> bool:
    """Whether a request carries a session's cookie. It may be invalid."""
    return any(SESSION in header for header in headers.getlist("cookie"))
