"""The route that streams a job's events."""

from dataclasses import dataclass
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Query
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.dependencies import EngineDep, FeedsDep
from api.http.errors import InvalidRequest, StreamEnded
from api.http.problems import FieldError, FieldErrors, problems
from api.http.types import JobId
from api.live.feed import EventStream
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import JobNotFound
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.states import TERMINAL

router = APIRouter(prefix="/jobs", tags=["jobs"])


@dataclass(frozen=True)
class StreamStart:
    """The start of an event stream: the events after number `after`. `newest` is the job's last event number, and
    `over` says that no event will follow.
    """

    job_id: str
    after: int
    newest: int
    over: bool


async def stream_start(
    job_id: JobId,
    engine: EngineDep,
    last_event_id: Annotated[
        str | None,
        Header(description="Number of the last event received. Takes precedence over `after`.", max_length=32),
    ] = None,
    after: Annotated[
        int,
        Query(
            ge=0,
            lt=2**63,
            description="Number of the last event received, for clients that cannot set `Last-Event-ID`, such as "
            "EventSource in browsers.",
        ),
    ] = 0,
) -> StreamStart:
    """The start of the stream. Resolved before the response starts, so that errors can still be returned."""

    def read(engine: Engine) -> StreamStart:
        with read_scope(engine) as session:
            return _stream_start(session, job_id, last_event_id, after)

    start = await to_thread.run_sync(read, engine)
    if start.over:
        raise StreamEnded
    return start


@router.get(
    "/{job_id}/events",
    operation_id="jobs_events",
    summary="Follow a job live",
    response_class=EventStream,
    responses={
        # OpenAPI 3.1 cannot describe the events of a stream; the description of the operation does.
        200: {"content": {"text/event-stream": {}}},
        204: {"description": "The job has ended and has no further events."},
        **problems(JobNotFound),
    },
)
async def jobs_events(start: Annotated[StreamStart, Depends(stream_start)], feeds: FeedsDep) -> EventStream:
    """A stream of server-sent events. `event` is the kind (`state`, `phase`, `resolved`, `teacher_measured`,
    `progress`, `metrics`, `checkpoint` or `log`), `data` is `{"kind", "at", "data"}`, and `id` is the event's number.
    Resume with `Last-Event-ID`: events are neither lost nor repeated, except that only the latest progress event is
    stored. A ping comment is sent every 15 seconds. The stream ends with the job.
    """
    return EventStream(feeds.follow(start.job_id, start.after, start.newest))


def _stream_start(session: Session, job_id: str, last_event_id: str | None, after: int = 0) -> StreamStart:
    """The start of a job's event stream. Raises JobNotFound, or FieldErrors for an invalid Last-Event-ID."""
    job = crud.get(session, job_id)
    if last_event_id and not (last_event_id.isascii() and last_event_id.isdecimal()):
        error = InvalidRequest("Last-Event-ID must be the number of an event.")
        raise FieldErrors((error, FieldError(pointer="/last-event-id", detail=error.message, where="header")))
    after = min(int(last_event_id) if last_event_id else after, job.last_event_number)
    over = job.state in TERMINAL and after == job.last_event_number
    return StreamStart(job.id, after, job.last_event_number, over)
