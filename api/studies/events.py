"""The route that streams a study's events."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends
from sqlalchemy import Engine

from api.dependencies import EngineDep, StudyFeedsDep
from api.http.errors import StreamEnded
from api.http.problems import problems
from api.http.types import StudyId
from api.live.feed import EventStream
from api.live.parameters import AfterParameter, LastEventId, StreamStart, start_of_stream
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import StudyNotFound
from ttm_jobs.repositories.studies import crud
from ttm_jobs.studies.states import ENDED

router = APIRouter(prefix="/studies", tags=["studies"])


async def _stream_start(
    study_id: StudyId, engine: EngineDep, last_event_id: LastEventId = None, after: AfterParameter = 0
) -> StreamStart:
    """The start of the stream. Resolved before the response starts, so that errors can still be returned."""

    def read(engine: Engine) -> StreamStart:
        with read_scope(engine) as session:
            study = crud.get(session, study_id)
            ended = study.state in ENDED
            return start_of_stream(study.id, study.last_event_number, last_event_id, after, ended=ended)

    start = await to_thread.run_sync(read, engine)
    if start.over:
        raise StreamEnded
    return start


@router.get(
    "/{study_id}/events",
    operation_id="studies_events",
    summary="Follow a study live",
    response_class=EventStream,
    responses={
        # OpenAPI 3.1 cannot describe the events of a stream; the description of the operation does.
        200: {"content": {"text/event-stream": {}}},
        204: {"description": "The study has ended and has no further events."},
        **problems(StudyNotFound),
    },
)
async def studies_events(start: Annotated[StreamStart, Depends(_stream_start)], feeds: StudyFeedsDep) -> EventStream:
    """A stream of server-sent events. `event` is the kind (`state`, `stage`, `rejected`, `rung`, `finalists` or
    `result`), `data` is `{"kind", "at", "data"}`, and `id` is the event's number. Resume with `Last-Event-ID`. A ping
    comment is sent every 15 seconds. The stream ends with the study.
    """
    return EventStream(feeds.follow(start.stream_id, start.after, start.newest))
