"""The one form of every refusal: application/problem+json, RFC 9457."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.types import Scope

from ttm_jobs.errors import PartChecksumMismatch, ServiceError

MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    pointer: str = Field(description="JSON pointer (RFC 6901) to the field, in the part of the request named by `in`.")
    detail: str
    where: Literal["body", "query", "path", "header"] = Field("body", serialization_alias="in")


class Problem(BaseModel):
    """Why a request was refused."""

    type: str = Field(description="Where the code is explained.", examples=["/docs#job_not_found"])
    title: str = Field(description="The HTTP status in words.", examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no such job."])
    instance: str | None = Field(None, description="Path of the request.")
    code: str = Field(description="Stable name of the cause, for programs.", examples=["job_not_found"])
    errors: list[FieldError] = Field(
        default_factory=list, description="One entry a fault; empty where no field is to blame."
    )
    request_id: str | None = Field(None, description="Also in X-Request-ID and in every log line of the request.")


class Refusal(ServiceError):
    """An error of the tree together with the fields that caused it; the first fault gives status and code."""

    def __init__(self, *faults: tuple[ServiceError, FieldError]) -> None:
        super().__init__(faults[0][0].message)
        self.first = faults[0][0]
        self.fields = [field for _, field in faults]


def problem_response(
    scope: Scope,
    status: int,
    code: str,
    detail: str,
    *,
    fields: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer that refuses a request; ids come from the request's scope."""
    problem = Problem(
        type=f"/docs#{code}",
        title=_title(status),
        status=status,
        detail=detail,
        instance=scope.get("path"),
        code=code,
        errors=list(fields),
        request_id=scope.get("state", {}).get("request_id"),
    )
    return Response(
        problem.model_dump_json(exclude_none=True, by_alias=True), status, media_type=MEDIA_TYPE, headers=headers
    )


def _title(status: int) -> str:
    # 460 is tus's own.
    return "Checksum Mismatch" if status == PartChecksumMismatch.status else HTTPStatus(status).phrase


def problems(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may raise these errors, for the OpenAPI document."""
    codes: dict[int | str, list[type[ServiceError]]] = {}
    for error in errors:
        codes.setdefault(error.status, []).append(error)
    return {
        status: {
            "model": Problem,
            "description": " ".join(f"`{error.code}`: {(error.__doc__ or '').strip()}" for error in group),
        }
        for status, group in codes.items()
    }
