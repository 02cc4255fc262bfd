"""What every connection to the service holds to: address and key, which requests are sent again and when, and problems
as exceptions.
"""

import hashlib
import json
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2

from ttm_client.errors import FieldError, error_class

DEFAULT_URL = "http://127.0.0.1:8000"
_RETRIED_STATUSES = frozenset({429, 502, 503, 504})
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_MAX_RETRY_AFTER = 60.0

Params = Mapping[str, str | int | list[str] | None]
Advance = Callable[[int, int], None]
"""Called with the bytes moved so far and the bytes in all."""


class StoreFailed(Exception):
    """The object store that the service led to did not send a file."""


def address(base_url: str | None) -> str:
    """Where the service is: as given, or as TTM_URL says, or this machine."""
    return (base_url or os.environ.get("TTM_URL") or DEFAULT_URL).rstrip("/")


def standing_headers(api_key: str | None) -> dict[str, str]:
    """Of every request. The key falls back to TTM_API_KEY."""
    headers = {"User-Agent": "ttm-client", "Accept": "application/json, application/problem+json;q=0.9, */*;q=0.8"}
    key = api_key or os.environ.get("TTM_API_KEY")
    return headers if key is None else {**headers, "Authorization": f"Bearer {key}"}


def name_of_request() -> dict[str, str]:
    """With it the service does a request once, however often it is sent."""
    return {"Idempotency-Key": str(uuid4())}


def job_path(job_id: str) -> str:
    """The path of a job."""
    return f"/jobs/{quote(job_id, safe='')}"


def undirected(path: str) -> str:
    """The path of a file, to be sent by the service itself."""
    return f"{path}{'&' if '?' in path else '?'}redirect=false"


def is_repeatable(method: str, *, once: bool) -> bool:
    """Whether a request that may have arrived can be sent again."""
    return once or method in _IDEMPOTENT


def is_busy(response: httpx2.Response, *, once: bool) -> bool:
    """Whether the same request may be answered otherwise in a moment."""
    # The first try of a named request reached the service, though its answer did not come back.
    in_flight = once and response.status_code == 409 and b'"request_in_flight"' in response.content
    return response.status_code in _RETRIED_STATUSES or in_flight


def retry_after(response: httpx2.Response) -> float | None:
    """The seconds that the service asks for, up to a minute."""
    try:
        return min(max(float(response.headers["retry-after"]), 0.0), _MAX_RETRY_AFTER)
    except (KeyError, ValueError):
        return None


def pause(first: float, attempt: int) -> float:
    """Seconds to wait before the next try; `attempt` counts from 0. Jittered, so that clients stay out of step."""
    return min(first * 2.0**attempt, 10.0) * random.uniform(0.75, 1.25)


def check(response: httpx2.Response) -> None:
    """Raise the ApiError that an error answer, its body read, stands for."""
    if not response.is_error:
        return
    try:
        problem = json.loads(response.content)
    except ValueError:
        problem = None
    # A proxy in between answers in its own form.
    fields: dict[str, Any] = problem if isinstance(problem, dict) else {}
    raise error_class(response.status_code)(
        status=response.status_code,
        code=str(fields.get("code", "http_error")),
        title=str(fields.get("title", response.reason_phrase)),
        detail=str(fields.get("detail", "")) or f"{response.status_code} {response.reason_phrase}",
        errors=tuple(
            FieldError(str(entry.get("pointer", "")), str(entry.get("detail", "")))
            for entry in fields.get("errors") or ()
            if isinstance(entry, dict)
        ),
        request_id=response.headers.get("x-request-id"),
    )


def without_none(params: Params | None) -> dict[str, str | int | list[str]]:
    """The parameters that are given."""
    return {name: value for name, value in (params or {}).items() if value is not None}


def sha256_of(path: Path) -> str:
    """In hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
