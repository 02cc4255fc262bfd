"""The route that streams the events of a project."""

from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Query
from sqlalchemy import Engine

from api.dependencies import CallerDep, EngineDep, ProjectFeedsDep
from api.http.errors import InvalidRequest
from api.http.problems import problems
from api.live.feed import EventStream
from api.live.parameters import LastEventId, StreamStart, start_of_stream
from ttm_jobs.database.engine import read_scope
from ttm_jobs.repositories.run_data import project_events

router = APIRouter(prefix="/events", tags=["events"])

ProjectEventKind = Literal[
    "job.state",
    "job.phase",
    "study.state",
    "study.stage",
    "study.rejected",
    "study.rung",
    "study.finalists",
    "study.result",
]
_After = Annotated[
    int | None,
    Query(
        ge=0,
        lt=2**63,
        description="Number of the last event received, for clients that cannot set `Last-Event-ID`; 0 for all stored "
        "events. Default: only new events.",
    ),
]


async def _stream_start(
    engine: EngineDep, caller: CallerDep, last_event_id: LastEventId = None, after: _After = None
) -> StreamStart:
    """The start of the stream. Resolved before the response starts, so that errors can still be returned."""

    def read(engine: Engine) -> int:
        with read_scope(engine) as session:
            return project_events.last_event_numbers(session, [caller.project_id]).get(caller.project_id, 0)

    newest = await to_thread.run_sync(read, engine)
    return start_of_stream(caller.project_id, newest, last_event_id, newest if after is None else after, ended=False)


@router.get(
    "",
    operation_id="events_stream",
    summary="Follow all jobs and studies live",
    response_class=EventStream,
    # OpenAPI 3.1 cannot describe the events of a stream; the description of the operation does.
    responses={200: {"content": {"text/event-stream": {}}}, **problems(InvalidRequest)},
)
async def events_stream(
    start: Annotated[StreamStart, Depends(_stream_start)],
    feeds: ProjectFeedsDep,
    kinds: Annotated[
        list[ProjectEventKind] | None, Query(alias="type", description="Only events of this type. May be repeated.")
    ] = None,
) -> EventStream:
    """A stream of server-sent events of the project: states and phases of its jobs, and the events of its studies.
    `event` is the type, `data` is `{"kind", "at", "data"}` with `job_id` or `study_id` and the `name` in `data`, and
    `id` is the event's number in the project. The stream starts with an `id` without an event. Resume with
    `Last-Event-ID`: events are neither lost nor repeated, except those of deleted jobs and studies. A ping comment is
    sent every 15 seconds. The stream has no end. Metrics, progress and logs are in the stream of each job.
    """
    selected = None if kinds is None else frozenset[str](kinds)
    return EventStream(feeds.follow(start.stream_id, start.after, start.newest, kinds=selected, announced=True))
