"""Keyset pagination with opaque cursors."""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from api.http.errors import InvalidCursor
from api.http.problems import FieldError, FieldErrors
from api.http.types import is_id

Limit = Annotated[int, Query(ge=1, le=200, description="Maximum number of items in the page.")]
CursorParameter = Annotated[
    str | None, Query(max_length=512, description="`next_cursor` of the previous page. Omit it for the first page.")
]

_CHECK_BYTES = 6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Item = TypeVar("Item", bound=BaseModel)
Position = TypeVar("Position")
Row = TypeVar("Row")


class Page(BaseModel, Generic[Item]):
    """A page of a list. While `has_more` is true, request the next page with `cursor=next_cursor`."""

    items: list[Item]
    next_cursor: str | None = Field(None, description="Cursor of the next page; null on the last page.")
    has_more: bool = Field(description="Whether another page follows.")


def encode_cursor(kind: str, position: Sequence[str | int]) -> str:
    """Encodes a position in the list `kind` as a cursor."""
    payload = json.dumps(position, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_checksum(kind, payload) + payload).decode().rstrip("=")


def decode_cursor(
    kind: str, cursor: str, parse: Callable[[list[Any]], Position], *, where: Literal["query", "body"] = "query"
) -> Position:
    """The position that a cursor of the list named `kind` encodes. `parse` converts the decoded list and may raise.

    Raises FieldErrors with InvalidCursor at `cursor` of the query or the body.
    """
    try:
        # urlsafe_b64decode skips foreign characters, so that one position would have several spellings.
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        payload = raw[_CHECK_BYTES:]
        if raw[:_CHECK_BYTES] == _checksum(kind, payload):
            return parse(json.loads(payload))
    except (ValueError, TypeError, LookupError, OverflowError):
        pass  # a forged cursor gets the same error as any other invalid one
    error = InvalidCursor()
    raise FieldErrors((error, FieldError(pointer="/cursor", detail=error.message, where=where)))


def cut_page(
    kind: str, rows: Sequence[Row], limit: int, position: Callable[[Row], Sequence[str | int]]
) -> tuple[Sequence[Row], str | None]:
    """The first `limit` of up to `limit` + 1 rows, and the cursor of the next page; None on the last page."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], encode_cursor(kind, position(rows[limit - 1]))


def encode_time_cursor(at: datetime, row_id: str) -> list[str | int]:
    """The position of a row in a list sorted by time."""
    # Integer microseconds: a float would lose precision.
    return [(at - _EPOCH) // timedelta(microseconds=1), row_id]


def decode_time_cursor(position: list[Any], is_valid_id: Callable[[str], bool] = is_id) -> tuple[datetime, str]:
    """Time and id of the row at a position. Raises ValueError for an invalid position."""
    microseconds, row_id = position
    if not is_valid_id(row_id):
        raise ValueError
    return _EPOCH + timedelta(microseconds=microseconds), row_id


def _checksum(kind: str, payload: bytes) -> bytes:
    # Detects mistakes, not tampering: a cursor gives access to nothing that the list does not.
    return hashlib.sha256(kind.encode() + b"\0" + payload).digest()[:_CHECK_BYTES]
