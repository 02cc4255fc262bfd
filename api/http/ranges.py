"""Conditional and partial answers for files that never change under their ETag (RFC 9110)."""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from api.http.conditional import names
from api.http.errors import RangeNotSatisfiable

# One range of bytes; more than one is answered with the whole file, which the RFC allows.
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))")


@dataclass(frozen=True)
class Whole:
    """200 with all bytes."""


@dataclass(frozen=True)
class Part:
    """206 with bytes `start` to `end`, the end excluded."""

    start: int
    end: int


@dataclass(frozen=True)
class Unchanged:
    """304: the client has these bytes."""


Selection = Whole | Part | Unchanged


def select(headers: Headers, *, etag: str, size: int) -> Selection:
    """What of a file of `size` bytes to send. RangeNotSatisfiable for a range that begins behind its end."""
    if names(headers.get("if-none-match", ""), etag):
        return Unchanged()
    match = _RANGE.fullmatch(headers.get("range", "").strip().lower())
    if match is None or headers.get("if-range", etag).strip() != etag:
        return Whole()
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(size - int(suffix), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last is not None else size
        if last is not None and int(last) < int(first):
            return Whole()
    if start >= size or start >= end:
        raise RangeNotSatisfiable(size)
    return Part(start, end)
