"""Routes of jobs."""

from collections.abc import AsyncIterator
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Body, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import StringConstraints
from sqlalchemy import Engine

from api.dependencies import EngineDep, FeedsDep, SettingsDep
from api.errors import InvalidCursor, InvalidRequest, MalformedBody, NothingNew, UnsupportedMediaType
from api.identifiers import JobId
from api.jobs import service
from api.jobs.examples import SPECS
from api.jobs.schemas import JobOut, JobPage, MetricPage
from api.jobs.service import InputNotFound, StreamStart, UnknownArchitecture
from api.pagination import CursorParameter, Limit
from api.problems import problems
from ttm_core.spec import DistillSpec
from ttm_jobs.database import read_scope, session_scope
from ttm_jobs.errors import (
    JobNotCancellable,
    JobNotFinished,
    JobNotFound,
    JobNotPausable,
    JobNotResumable,
    JobNotRetryable,
    TooLarge,
    UploadNotComplete,
    UriNotAllowed,
)
from ttm_jobs.repositories import jobs
from ttm_jobs.states import JobState

router = APIRouter(prefix="/jobs", tags=["jobs"])

MetricName = Annotated[str, StringConstraints(max_length=100, pattern=r"^[\w/.-]+$")]


@router.post(
    "",
    operation_id="jobs_create",
    summary="Submit a distillation job",
    status_code=201,
    responses={
        201: {"headers": {"Location": {"description": "Path of the job.", "schema": {"type": "string"}}}},
        **problems(
            InvalidRequest,
            UnknownArchitecture,
            UriNotAllowed,
            InputNotFound,
            JobNotFinished,
            UploadNotComplete,
            MalformedBody,
            UnsupportedMediaType,
            TooLarge,
        ),
    },
)
def jobs_create(
    spec: Annotated[DistillSpec, Body(openapi_examples=SPECS)],
    response: Response,
    engine: EngineDep,
    settings: SettingsDep,
) -> JobOut:
    """Three strings are enough: where the teacher's checkpoint is, what the student is, where the data is. Everything
    else has defaults. The answer shows the whole spec, and the job is waiting for a worker when it is sent."""
    with session_scope(engine) as session:
        job = service.create(session, settings, spec)
    response.headers["Location"] = job.links.self
    return job


@router.get(
    "", operation_id="jobs_list", summary="List jobs, newest first", responses=problems(InvalidRequest, InvalidCursor)
)
def jobs_list(
    engine: EngineDep,
    limit: Limit = 50,
    cursor: CursorParameter = None,
    state: Annotated[list[JobState], Query(description="Only jobs in these states; may be repeated.")] = [],  # noqa: B006
) -> JobPage:
    """Pages by keyset: a job submitted meanwhile moves nothing."""
    with read_scope(engine) as session:
        return service.page(session, limit=limit, cursor=cursor, states=state)


@router.get("/{job_id}", operation_id="jobs_get", summary="Show a job", responses=problems(JobNotFound))
def jobs_get(job_id: JobId, engine: EngineDep) -> JobOut:
    """State, phase, progress, latest metrics, accuracy of teacher and student, complete spec, artifacts, history."""
    with read_scope(engine) as session:
        return service.get(session, job_id)


@router.get(
    "/{job_id}/metrics",
    operation_id="jobs_metrics",
    summary="Read a job's metrics",
    responses=problems(JobNotFound, InvalidRequest),
)
def jobs_metrics(
    job_id: JobId,
    engine: EngineDep,
    name: Annotated[list[MetricName], Query(description="Only these metrics; may be repeated.")] = [],  # noqa: B006
    after_step: Annotated[int, Query(ge=-1, lt=2**63, description="Only later steps.")] = -1,
    limit: Annotated[int, Query(ge=1, le=1000, description="Steps on a page.")] = 1000,
) -> MetricPage:
    """The numbers recorded at each step, in order of steps."""
    with read_scope(engine) as session:
        return service.metric_page(session, job_id, names=name, after_step=after_step, limit=limit)


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
    response_class=EventSourceResponse,
    responses={
        204: {"description": "The job has ended and has no event after `Last-Event-ID`."},
        **problems(JobNotFound),
    },
)
async def jobs_events(
    start: Annotated[StreamStart, Depends(stream_start)], feeds: FeedsDep
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events. `event` is the kind (state, phase, planned, teacher_measured, progress, metrics, checkpoint,
    log), `data` is `{"kind", "at", "data"}`, `id` counts up. Resume with `Last-Event-ID`: no event is missed or
    repeated; of progress events only the newest is kept. A ping comment comes every 15 s. The stream ends with the
    job."""
    async for event in feeds.follow(start.job_id, start.after, start.newest):
        yield event


@router.post(
    "/{job_id}/cancel",
    operation_id="jobs_cancel",
    summary="Cancel a job",
    responses=problems(JobNotFound, JobNotCancellable),
)
def jobs_cancel(job_id: JobId, engine: EngineDep) -> JobOut:
    """A waiting job is cancelled at once; a running one is `cancelling` until its worker has let go. Asking again is
    harmless."""
    with session_scope(engine) as session:
        return service.change(session, jobs.request_cancel, job_id)


@router.post(
    "/{job_id}/pause",
    operation_id="jobs_pause",
    summary="Pause a job",
    responses=problems(JobNotFound, JobNotPausable),
)
def jobs_pause(job_id: JobId, engine: EngineDep) -> JobOut:
    """The worker saves a checkpoint and is free for other jobs; the job is `paused` once that is done."""
    with session_scope(engine) as session:
        return service.change(session, jobs.request_pause, job_id)


@router.post(
    "/{job_id}/resume",
    operation_id="jobs_resume",
    summary="Resume a paused job",
    responses=problems(JobNotFound, JobNotResumable),
)
def jobs_resume(job_id: JobId, engine: EngineDep) -> JobOut:
    """The job waits for a worker again and goes on from its last checkpoint."""
    with session_scope(engine) as session:
        return service.change(session, jobs.resume, job_id)


@router.post(
    "/{job_id}/retry",
    operation_id="jobs_retry",
    summary="Submit a failed or cancelled job again",
    status_code=201,
    responses=problems(JobNotFound, JobNotRetryable),
)
def jobs_retry(job_id: JobId, response: Response, engine: EngineDep) -> JobOut:
    """A new job with the same spec, which names the old one in `retry_of`; the old one stays as it is."""
    with session_scope(engine) as session:
        job = service.change(session, jobs.retry, job_id)
    response.headers["Location"] = job.links.self
    return job
