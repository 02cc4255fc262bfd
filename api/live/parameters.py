"""Parameters of event streams."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Header, Query

from api.http.errors import InvalidRequest
from api.http.problems import FieldError, FieldErrors

LastEventId = Annotated[
    str | None,
    Header(description="Number of the last event received. Takes precedence over `after`.", max_length=32),
]
AfterParameter = Annotated[
    int,
    Query(
        ge=0,
        lt=2**63,
        description="Number of the last event received, for clients that cannot set `Last-Event-ID`, such as "
        "EventSource in browsers.",
    ),
]


@dataclass(frozen=True)
class StreamStart:
    """The start of an event stream: the events after number `after`. `newest` is the number of the last event, and
    `over` says that no event will follow.
    """

    stream_id: str
    after: int
    newest: int
    over: bool


def start_of_stream(stream_id: str, newest: int, last_event_id: str | None, after: int, *, ended: bool) -> StreamStart:
    """The start of a stream. Raises FieldErrors for an invalid Last-Event-ID."""
    if last_event_id and not (last_event_id.isascii() and last_event_id.isdecimal()):
        error = InvalidRequest("Last-Event-ID must be the number of an event.")
        raise FieldErrors((error, FieldError(pointer="/last-event-id", detail=error.message, where="header")))
    after = min(int(last_event_id) if last_event_id else after, newest)
    return StreamStart(stream_id, after, newest, over=ended and after == newest)
