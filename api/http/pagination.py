"""Keyset pages: a cursor says after which row the next page begins, and is opaque to clients."""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from api.http.errors import InvalidCursor
from api.http.problems import FieldError, Refusal
from api.http.types import is_id

Limit = Annotated[int, Query(ge=1, le=200, description="Items on a page.")]
CursorParameter = Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before.")]

_CHECK_BYTES = 6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Item = TypeVar("Item", bound=BaseModel)
Position = TypeVar("Position")


class Page(BaseModel, Generic[Item]):
    """A part of a list; ask again with `cursor=next_cursor` while `has_more`."""

    items: list[Item]
    next_cursor: str | None = Field(None, description="None on the last page.")
    has_more: bool


def encode_cursor(kind: str, position: Sequence[str | int]) -> str:
    """The cursor of a position in the list named `kind`."""
    payload = json.dumps(position, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_check(kind, payload) + payload).decode().rstrip("=")


def decode_cursor(kind: str, cursor: str, parse: Callable[[list[Any]], Position]) -> Position:
    """The position in a cursor; a problem at `cursor` for one that the list named `kind` did not give out.

    `parse` makes it of the decoded list, and may raise what such making raises.
    """
    try:
        # urlsafe_b64decode skips foreign characters, which would give one position many spellings.
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        payload = raw[_CHECK_BYTES:]
        if raw[:_CHECK_BYTES] == _check(kind, payload):
            return parse(json.loads(payload))
    except (ValueError, TypeError, LookupError, OverflowError):
        pass  # forged with care: refused as any other
    error = InvalidCursor()
    raise Refusal((error, FieldError(pointer="/cursor", detail=error.message, where="query")))


def encode_time_cursor(at: datetime, row_id: str) -> list[str | int]:
    """The position of a row in a list by time."""
    # Whole microseconds: a float would round the time to another row's.
    return [(at - _EPOCH) // timedelta(microseconds=1), row_id]


def decode_time_cursor(position: list[Any], is_name: Callable[[str], bool] = is_id) -> tuple[datetime, str]:
    """The row that such a position names; raises for what is none."""
    microseconds, row_id = position
    if not is_name(row_id):
        raise ValueError
    return _EPOCH + timedelta(microseconds=microseconds), row_id


def _check(kind: str, payload: bytes) -> bytes:
    # Guards against mistakes, not against malice: a cursor gives away no more than the list does.
    return hashlib.sha256(kind.encode() + b"\0" + payload).digest()[:_CHECK_BYTES]
