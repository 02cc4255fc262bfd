"""Error responses: application/problem+json (RFC 9457)."""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.types import Scope

from ttm_jobs.errors import PartChecksumMismatch, ServiceError

MEDIA_TYPE = "application/problem+json"


MAX_FIELDS = 20
"""The number of invalid fields that a problem lists."""


class FieldError(BaseModel):
    """An invalid field of a request."""

    pointer: str = Field(description="JSON pointer (RFC 6901) to the field, in the part of the request given by `in`.")
    detail: str = Field(description="What is wrong with the field.", examples=["No such field. Did you mean `epochs`?"])
    where: Literal["body", "query", "path", "header"] = Field("body", serialization_alias="in")


class Problem(BaseModel):
    """An error response (RFC 9457)."""

    type: str = Field(description="URL of the documentation of `code`.", examples=["/docs#job_not_found"])
    title: str = Field(description="Reason phrase of the HTTP status.", examples=["Not Found"])
    status: int = Field(description="HTTP status.", examples=[404])
    detail: str = Field(description="What happened, for people.", examples=["There is no such job."])
    instance: str | None = Field(None, description="Path of the request.")
    code: str = Field(description="Stable error code, for programs.", examples=["job_not_found"])
    errors: list[FieldError] = Field(
        default_factory=list,
        description="The first 20 invalid fields. Empty if the error is not caused by a field.",
    )
    more_errors: int | None = Field(None, description="Number of further invalid fields, if there are more than 20.")
    request_id: str | None = Field(
        None, description="Id of the request, also in `X-Request-ID` and in the service's log lines."
    )


class FieldErrors(ServiceError):
    """An error together with the fields that cause it. The first one sets status, code and detail."""

    def __init__(self, *errors: tuple[ServiceError, FieldError]) -> None:
        super().__init__(errors[0][0].message)
        self.first = errors[0][0]
        self.fields = [field for _, field in errors]


def problem_response(
    scope: Scope,
    status: int,
    code: str,
    detail: str,
    *,
    fields: Sequence[FieldError] = (),
    field_count: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error response with the first 20 of `field_count` invalid fields (default: of `fields`). `instance` and
    `request_id` are read from the request's scope.
    """
    more = (len(fields) if field_count is None else field_count) - MAX_FIELDS
    problem = Problem(
        type=f"/docs#{code}",
        title=_title(status),
        status=status,
        detail=detail,
        instance=scope.get("path"),
        code=code,
        errors=list(fields[:MAX_FIELDS]),
        more_errors=more if more > 0 else None,
        request_id=scope.get("state", {}).get("request_id"),
    )
    return Response(
        problem.model_dump_json(exclude_none=True, by_alias=True), status, media_type=MEDIA_TYPE, headers=headers
    )


def _title(status: int) -> str:
    # 460 is defined by tus, not by the IANA registry.
    return "Checksum Mismatch" if status == PartChecksumMismatch.status else HTTPStatus(status).phrase


def problems(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of a route that may raise these errors."""
    codes: dict[int | str, list[type[ServiceError]]] = {}
    for error in errors:
        codes.setdefault(error.status, []).append(error)
    return {
        status: {
            "model": Problem,
            "description": " ".join(f"`{error.code}`: {' '.join((error.__doc__ or '').split())}" for error in group),
        }
        for status, group in codes.items()
    }


def error_codes() -> dict[str, type[ServiceError]]:
    """Every error class by its code, in alphabetical order."""
    named = [error for error in _subclasses(ServiceError) if "code" in vars(error)]
    return {error.code: error for error in sorted(named, key=lambda error: error.code)}


def _subclasses(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield error
    for child in error.__subclasses__():
        yield from _subclasses(child)
