"""Conditional requests and byte ranges (RFC 9110): ETag, If-None-Match, If-Range and Range."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header
from starlette.datastructures import Headers
from starlette.responses import Response

from ttm_jobs.errors import ServiceError

IfNoneMatch = Annotated[
    str | None,
    Header(max_length=1024, description="ETag of a previous response. Returns 304 if the resource is unchanged."),
]

# A single byte range. A request for several ranges gets the whole file, which the RFC permits.
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))")


class NotModified(Exception):
    """The client's copy is current: the response is 304."""

    def __init__(self, etag: str) -> None:
        super().__init__(etag)
        self.etag = etag


class RangeNotSatisfiable(ServiceError):
    """The requested range starts after the end of the file."""

    status = 416
    code = "range_not_satisfiable"

    def __init__(self, size: int = 0) -> None:
        super().__init__(f"The requested range starts after the end of the file, which has {size} bytes.")
        self.size = size


@dataclass(frozen=True)
class FullContent:
    """200 with all bytes."""


@dataclass(frozen=True)
class PartialContent:
    """206 with bytes `start` to `end`, exclusive."""

    start: int
    end: int


@dataclass(frozen=True)
class Unchanged:
    """304: the client's copy is current."""


Selection = FullContent | PartialContent | Unchanged


def matches(condition: str, etag: str) -> bool:
    """Whether an If-None-Match header lists the ETag. Uses weak comparison: W/"x" equals "x"."""
    tags = [tag.strip() for tag in condition.split(",")]
    return any(tag == "*" or tag.removeprefix("W/") == etag.removeprefix("W/") for tag in tags)


def check(condition: str | None, etag: str) -> None:
    """Raises NotModified if the If-None-Match header lists the ETag."""
    if matches(condition or "", etag):
        raise NotModified(etag)


def not_modified(error: NotModified) -> Response:
    """The 304 response."""
    return Response(status_code=304, headers={"ETag": error.etag})


def select(headers: Headers, *, etag: str, size: int, ranges: bool = True) -> Selection:
    """The part of a file of `size` bytes to send: the whole file without `ranges`. Raises RangeNotSatisfiable."""
    if matches(headers.get("if-none-match", ""), etag):
        return Unchanged()
    match = _RANGE.fullmatch(headers.get("range", "").strip().lower()) if ranges else None
    if match is None or headers.get("if-range", etag).strip() != etag:
        return FullContent()
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(size - int(suffix), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last is not None else size
        if last is not None and int(last) < int(first):
            return FullContent()
    if start >= size or start >= end:
        raise RangeNotSatisfiable(size)
    return PartialContent(start, end)
