"""Routes of jobs."""

from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Body, Depends, Header, Query, Response
from pydantic import StringConstraints
from sqlalchemy import Engine

from api.dependencies import CallerDep, EngineDep, FeedsDep, SettingsDep
from api.http.conditional import IfNoneMatch
from api.http.errors import InputNotFound, InvalidCursor, InvalidRequest, NothingNew
from api.http.idempotency import OnceDep, located
from api.http.json_bodies import BODY_REFUSALS, JsonRoute
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.http.types import JobId
from api.jobs import service
from api.jobs.examples import SPECS
from api.jobs.filters import FiltersDep
from api.jobs.live.feed import Stream
from api.jobs.live.polling import PollDep
from api.jobs.schemas import (
    AttemptList,
    CheckpointList,
    Dryrun,
    JobOut,
    JobPage,
    JobPatch,
    JobRequest,
    MetricPage,
)
from api.jobs.service import StreamStart
from api.jobs.validation import DeadlinePassed, UnknownArchitecture, UnknownQueue, dry_run
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import (
    IdempotencyKeyReused,
    JobNotCancellable,
    JobNotDeletable,
    JobNotFinished,
    JobNotFound,
    JobNotPausable,
    JobNotResumable,
    JobNotRetryable,
    QuotaExceeded,
    RequestInFlight,
    UploadNotComplete,
    UriNotAllowed,
)
from ttm_jobs.repositories.jobs import crud

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=JsonRoute)

_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "`If-None-Match` names what would be answered."}}
_EVENT = {
    "type": "object",
    "properties": {
        "data": {"type": "string"},
        "event": {"type": "string"},
        "id": {"type": "string"},
        "retry": {"type": "integer", "minimum": 0},
    },
}
_SPEC_REFUSALS = (
    InvalidRequest,
    UnknownArchitecture,
    UriNotAllowed,
    InputNotFound,
    DeadlinePassed,
    UnknownQueue,
    JobNotFinished,
    UploadNotComplete,
)
MetricName = Annotated[str, StringConstraints(max_length=100, pattern=r"^[\w/.-]+$")]


@router.post(
    "",
    operation_id="jobs_create",
    summary="Submit a distillation job",
    status_code=201,
    response_model=JobOut,
    responses=located("the job")
    | problems(*_SPEC_REFUSALS, QuotaExceeded, IdempotencyKeyReused, RequestInFlight, *BODY_REFUSALS),
)
def jobs_create(
    request: Annotated[JobRequest, Body(openapi_examples=SPECS)],
    once: OnceDep,
    engine: EngineDep,
    settings: SettingsDep,
    caller: CallerDep,
) -> Response:
    """Three strings are enough: where the teacher's checkpoint is, what the student is, where the data is. Everything
    else has defaults. `teacher:NAME` and `dataset:NAME`, with `@VERSION` for one that is not the newest, stand for what
    the project has under these names. The answer shows the whole spec, and the job is waiting for a worker when it is
    sent."""
    create = partial(service.create, settings=settings, request=request, owner=caller.name)
    return once.answer(engine, request, create, _location)


@router.post(
    "/validate",
    operation_id="jobs_validate",
    summary="Try a job without submitting it",
    responses=problems(*_SPEC_REFUSALS, *BODY_REFUSALS),
)
def jobs_validate(
    request: Annotated[JobRequest, Body(openapi_examples=SPECS)], engine: EngineDep, settings: SettingsDep
) -> Dryrun:
    """The same refusals as for submitting it; else the spec with its defaults, and the size of its models. Nothing is
    made."""
    with read_scope(engine) as session:
        return dry_run(session, settings, request)


@router.get(
    "",
    operation_id="jobs_list",
    summary="List jobs, newest first",
    responses=_UNCHANGED | problems(InvalidRequest, InvalidCursor),
)
def jobs_list(
    engine: EngineDep,
    filters: FiltersDep,
    response: Response,
    limit: Limit = 50,
    cursor: CursorParameter = None,
    if_none_match: IfNoneMatch = None,
) -> JobPage:
    """Pages by keyset: a job submitted meanwhile moves nothing. Every filter that is given must fit."""
    with read_scope(engine) as session:
        page, response.headers["ETag"] = service.page(
            session, limit=limit, cursor=cursor, filters=filters, condition=if_none_match
        )
    return page


@router.get(
    "/{job_id}",
    operation_id="jobs_get",
    summary="Show a job",
    response_model=JobOut,
    responses=_UNCHANGED | problems(JobNotFound),
)
def jobs_get(poll: PollDep) -> Response:
    """State, phase, progress, latest metrics, accuracy of teacher and student, complete spec, artifacts, history. The
    ETag changes with all of these but the time of the heartbeat."""
    with read_scope(poll.engine) as session:
        body, tag = service.poll(session, poll.services.settings, poll.job_id, poll.condition, poll.services.rendered)
    headers = {"ETag": tag}
    if body is None:
        return Response(status_code=304, headers=headers)
    if poll.waited is not None:
        headers["Preference-Applied"] = f"wait={poll.waited}"
    return Response(body, headers=headers, media_type="application/json")


@router.patch(
    "/{job_id}",
    operation_id="jobs_update",
    summary="Rename or tag a job",
    responses=problems(JobNotFound, InvalidRequest, *BODY_REFUSALS),
)
def jobs_update(job_id: JobId, wanted: JobPatch, engine: EngineDep, settings: SettingsDep) -> JobOut:
    """Whatever its state. What is left out stays as it is; `tags` takes the place of all tags it had."""
    with session_scope(engine) as session:
        return service.patch(session, settings, job_id, wanted)


@router.delete(
    "/{job_id}",
    operation_id="jobs_delete",
    summary="Delete a job that has ended",
    status_code=204,
    responses=problems(JobNotFound, JobNotDeletable),
)
def jobs_delete(job_id: JobId, engine: EngineDep) -> None:
    """With its metrics, events and artifacts, whose bytes leave the storage within about a day. Jobs that started from
    its student keep what they made of it."""
    with session_scope(engine) as session:
        crud.remove(session, job_id)


@router.get(
    "/{job_id}/metrics",
    operation_id="jobs_metrics",
    summary="Read a job's metrics",
    responses=problems(JobNotFound, InvalidRequest),
)
def jobs_metrics(
    job_id: JobId,
    engine: EngineDep,
    name: Annotated[list[MetricName], Query(max_length=50, description="Only these metrics; may be repeated.")] = [],  # noqa: B006
    after_step: Annotated[int, Query(ge=-1, lt=2**63, description="Only later steps.")] = -1,
    limit: Annotated[int, Query(ge=1, le=1000, description="Steps on a page.")] = 1000,
    max_points: Annotated[
        int | None,
        Query(
            ge=2,
            le=2000,
            description="Instead of pages, at most so many steps of each metric, evenly over all of them: the numbers "
            "of a step as they were recorded, no means.",
        ),
    ] = None,
) -> MetricPage:
    """The numbers recorded at each step, in order of steps."""
    with read_scope(engine) as session:
        if max_points is not None:
            return service.thin_metrics(session, job_id, names=name, after_step=after_step, max_points=max_points)
        return service.metric_page(session, job_id, names=name, after_step=after_step, limit=limit)


@router.get(
    "/{job_id}/checkpoints",
    operation_id="jobs_checkpoints",
    summary="List a job's checkpoints",
    responses=problems(JobNotFound),
)
def jobs_checkpoints(job_id: JobId, engine: EngineDep) -> CheckpointList:
    """Those from which another worker would resume it. They are the service's own, and not downloaded."""
    with read_scope(engine) as session:
        return service.checkpoint_list(session, job_id)


@router.get(
    "/{job_id}/attempts",
    operation_id="jobs_attempts",
    summary="List the attempts at a job",
    responses=problems(JobNotFound),
)
def jobs_attempts(job_id: JobId, engine: EngineDep) -> AttemptList:
    """Which workers took the job, when, from which step to which, and why an attempt ended early."""
    with read_scope(engine) as session:
        return service.attempt_list(session, job_id)


async def stream_start(
    job_id: JobId,
    engine: EngineDep,
    last_event_id: Annotated[
        str | None, Header(description="Number of the last event received.", max_length=32)
    ] = None,
) -> StreamStart:
    """Where a listener begins. Looked up before the stream is answered, while a refusal can still be one."""

    def look(engine: Engine) -> StreamStart:
        with read_scope(engine) as session:
            return service.stream_start(session, job_id, last_event_id)

    start = await to_thread.run_sync(look, engine)
    if start.over:
        raise NothingNew
    return start


@router.get(
    "/{job_id}/events",
    operation_id="jobs_events",
    summary="Follow a job live",
    response_class=Stream,
    responses={
        200: {"content": {"text/event-stream": {"itemSchema": _EVENT}}},
        204: {"description": "The job has ended and has no event after `Last-Event-ID`."},
        **problems(JobNotFound),
    },
)
async def jobs_events(start: Annotated[StreamStart, Depends(stream_start)], feeds: FeedsDep) -> Stream:
    """Server-sent events. `event` is the kind (state, phase, planned, teacher_measured, progress, metrics, checkpoint,
    log), `data` is `{"kind", "at", "data"}`, `id` counts up. Resume with `Last-Event-ID`: no event is missed or
    repeated; of progress events only the newest is kept. A ping comment comes every 15 s. The stream ends with the
    job."""
    return Stream(feeds.follow(start.job_id, start.after, start.newest))


@router.post(
    "/{job_id}/cancel",
    operation_id="jobs_cancel",
    summary="Cancel a job",
    responses=problems(JobNotFound, JobNotCancellable),
)
def jobs_cancel(job_id: JobId, engine: EngineDep, settings: SettingsDep) -> JobOut:
    """A waiting job is cancelled at once; a running one is `cancelling` until its worker has let go. Asking again is
    harmless."""
    with session_scope(engine) as session:
        return service.change(session, settings, crud.request_cancel, job_id)


@router.post(
    "/{job_id}/pause",
    operation_id="jobs_pause",
    summary="Pause a job",
    responses=problems(JobNotFound, JobNotPausable),
)
def jobs_pause(job_id: JobId, engine: EngineDep, settings: SettingsDep) -> JobOut:
    """The worker saves a checkpoint and is free for other jobs; the job is `paused` once that is done."""
    with session_scope(engine) as session:
        return service.change(session, settings, crud.request_pause, job_id)


@router.post(
    "/{job_id}/resume",
    operation_id="jobs_resume",
    summary="Resume a paused job",
    responses=problems(JobNotFound, JobNotResumable),
)
def jobs_resume(job_id: JobId, engine: EngineDep, settings: SettingsDep) -> JobOut:
    """The job waits for a worker again and goes on from its last checkpoint."""
    with session_scope(engine) as session:
        return service.change(session, settings, crud.resume, job_id)


@router.post(
    "/{job_id}/retry",
    operation_id="jobs_retry",
    summary="Submit a failed or cancelled job again",
    status_code=201,
    response_model=JobOut,
    responses=located("the new job")
    | problems(JobNotFound, JobNotRetryable, QuotaExceeded, InvalidRequest, IdempotencyKeyReused, RequestInFlight),
)
def jobs_retry(job_id: JobId, once: OnceDep, engine: EngineDep, settings: SettingsDep, caller: CallerDep) -> Response:
    """A new job with the same spec, which names the old one in `retry_of` and belongs to who asks; the old one stays as
    it is."""
    retry = partial(crud.retry, owner=caller.name)
    return once.answer(engine, None, lambda session: service.change(session, settings, retry, job_id), _location)


def _location(job: JobOut) -> str:
    return job.links.self
