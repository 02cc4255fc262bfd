"""Everything the client raises."""

from dataclasses import dataclass


class ClientError(Exception):
    """Base of all errors of this library."""


class ConnectionFailed(ClientError):
    """The service cannot be reached, or the connection broke and retries did not help."""


class ChecksumMismatch(ClientError):
    """A file that was transferred does not have the SHA-256 that the service names."""


class WaitTimeout(ClientError):
    """The job did not end within the time given to `wait`."""


@dataclass(frozen=True)
class FieldError:
    """One thing that is wrong with a request; `pointer` is a JSON pointer into what was sent."""

    pointer: str
    detail: str


class ApiError(ClientError):
    """The service answered with a problem (RFC 9457)."""

    def __init__(
        self,
        *,
        status: int,
        code: str,
        title: str,
        detail: str,
        errors: tuple[FieldError, ...] = (),
        request_id: str | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.errors = errors
        self.request_id = request_id
        lines = [detail or title, *(f"{error.pointer}: {error.detail}" for error in errors)]
        super().__init__("\n  ".join(lines))


class InvalidRequest(ApiError):
    """The request is malformed or its content is refused (400, 413, 415, 416, 422)."""


class NotAllowed(ApiError):
    """A valid key is missing, its scope is too small, or its project is at a limit (401, 403)."""


class NotFound(ApiError):
    """There is no such thing (404)."""


class Conflict(ApiError):
    """The thing is not in a state that allows this (409, 412)."""


class Unavailable(ApiError):
    """The service is overloaded or a part of it is away (429, 502, 503, 504)."""


class ServerError(ApiError):
    """The service failed (other 5xx)."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    416: InvalidRequest,
    422: InvalidRequest,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_class(status: int) -> type[ApiError]:
    """The class that stands for an HTTP status."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
