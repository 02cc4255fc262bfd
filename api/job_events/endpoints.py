"""The route that streams a job's events."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends
from sqlalchemy import Engine

from api.dependencies import EngineDep, FeedsDep
from api.http.errors import StreamEnded
from api.http.problems import problems
from api.http.types import JobId
from api.live.feed import EventStream
from api.live.parameters import AfterParameter, LastEventId, StreamStart, start_of_stream
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import JobNotFound
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.states import TERMINAL

router = APIRouter(prefix="/jobs", tags=["jobs"])


async def stream_start(
    job_id: JobId, engine: EngineDep, last_event_id: LastEventId = None, after: AfterParameter = 0
) -> StreamStart:
    """The start of the stream. Resolved before the response starts, so that errors can still be returned."""

    def read(engine: Engine) -> StreamStart:
        with read_scope(engine) as session:
            job = crud.get(session, job_id)
            return start_of_stream(job.id, job.last_event_number, last_event_id, after, ended=job.state in TERMINAL)

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
    return EventStream(feeds.follow(start.stream_id, start.after, start.newest))
