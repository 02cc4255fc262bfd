"""The exceptions that the client raises."""

from dataclasses import dataclass
from functools import partial
from typing import Any


class ClientError(Exception):
    """Base of all errors of this library.

    >>> try:
    ...     client.jobs.get("no-such-job")
    ... except ClientError as error:
    ...     print(error)
    No job has the id, id prefix or name 'no-such-job'.
    """


class ConnectionFailed(ClientError):
    """The service cannot be reached, or the connection broke and every retry failed. `proxy` is the address of the
    proxy that the environment sets for the service, or None.

    >>> try:
    ...     Client("http://127.0.0.1:9").jobs.get(done.id)
    ... except ConnectionFailed as error:
    ...     print(error)
    Cannot connect to http://127.0.0.1:9: ...
    """

    proxy: str | None = None


class ChecksumMismatch(ClientError):
    """A transferred file does not have the SHA-256 or the size that the service reports.

    >>> damaged = done.artifacts[0].model_copy(update={"sha256": "0" * 64})
    >>> try:
    ...     client.jobs.download_artifact(done.id, damaged, "report.json")
    ... except ChecksumMismatch as error:
    ...     print(error)
    /jobs/.../artifacts/report.json: expected 0000..., got ...
    """


class UnexpectedResponse(ClientError):
    """The response is not one of this service: the URL redirects, a proxy or another program answered, or the service
    is of another version.

    >>> issubclass(UnexpectedResponse, ClientError)
    True
    """


class WaitTimeout(ClientError):
    """The job did not end within the `timeout` of `wait`.

    >>> try:
    ...     client.jobs.wait(running.id, timeout=0.1)
    ... except WaitTimeout as error:
    ...     print(error)
    Job ... is still running after 0.1 s.
    """


class HubRefused(ClientError):
    """The Hugging Face Hub refuses an upload, or `HF_TOKEN` is missing.

    >>> try:
    ...     client.jobs.push(done.id, "me/pets")
    ... except HubRefused as error:
    ...     print(error)
    Set HF_TOKEN to an access token of the Hugging Face Hub with write permission...
    """


class HubUnreachable(ClientError):
    """The Hugging Face Hub cannot be reached, fails, or limits the rate of requests.

    >>> issubclass(HubUnreachable, ClientError)
    True
    """


@dataclass(frozen=True)
class FieldError:
    """One invalid field of a request. `pointer` is a JSON pointer into the request body.

    >>> try:
    ...     client.jobs.create(student="resnet18", dataset=dataset, method="ce", priority=12)
    ... except InvalidRequest as error:
    ...     print(error.errors[0].pointer, error.errors[0].detail)
    /priority Input should be less than or equal to 9
    """

    pointer: str
    detail: str


class ApiError(ClientError):
    """The service returned a problem document (RFC 9457).

    >>> try:
    ...     client.jobs.get("no-such-job")
    ... except ApiError as error:
    ...     print(error.status, error.code, error.title)
    404 job_not_found Not Found
    """

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
        lines = [detail or title]
        for error in errors:
            if error.pointer:
                lines.append(f"{error.pointer}: {error.detail}")
            elif error.detail.lower() not in detail.lower():
                lines.append(error.detail)
        super().__init__("\n  ".join(lines))

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, an exception is unpickled by a call with its message alone. That fails here, and the process
        # pool of a task that raises the error breaks or never returns.
        fields = {name: getattr(self, name) for name in ("status", "code", "title", "detail", "errors", "request_id")}
        return partial(type(self), **fields), (), vars(self)


class InvalidRequest(ApiError):
    """The request is malformed or invalid (400, 413, 415, 416, 422). Requests with NaN or infinity are not sent.

    >>> try:
    ...     client.jobs.create(student="resnet188", dataset=dataset, method="ce")
    ... except InvalidRequest as error:
    ...     print(error.code, error.errors[0].pointer)
    unknown_architecture /student/architecture
    """


class NotAllowed(ApiError):
    """The API key is missing or invalid, lacks the scope, or its project has reached a limit (401, 403).

    >>> try:
    ...     Client(api_key="ttm_nobody").jobs.get(done.id)
    ... except NotAllowed as error:
    ...     print(error.status)
    401
    """


class NotFound(ApiError):
    """The resource does not exist (404).

    >>> try:
    ...     client.architectures.get("resnet188")
    ... except NotFound as error:
    ...     print(error.status)
    404
    """


class Conflict(ApiError):
    """The resource is in a state that does not allow the request (409, 412).

    >>> try:
    ...     client.jobs.cancel(done.id)
    ... except Conflict as error:
    ...     print(error.code)
    job_not_cancellable
    """


class Unavailable(ApiError):
    """The service is overloaded or partly unavailable (429, 502, 503, 504).

    >>> try:
    ...     busy.jobs.cancel(running.id)
    ... except Unavailable as error:
    ...     print(error.status)
    503
    """


class ServerError(ApiError):
    """The service failed (other 5xx statuses).

    >>> issubclass(ServerError, ApiError)
    True
    """


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
    """Returns the exception class for an HTTP status."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
