"""Decisions about jobs: which specs are accepted, and what a page holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

import structlog
from sqlalchemy.orm import Session

from api.http import conditional
from api.http.errors import InvalidRequest
from api.http.pagination import decode_cursor, decode_time_cursor, encode_cursor, encode_time_cursor
from api.http.problems import FieldError, Refusal
from api.jobs.live.polling import etag
from api.jobs.live.rendered import RenderedJobs
from api.jobs.schemas import (
    AttemptList,
    CheckpointList,
    HistoryEntry,
    JobOut,
    JobPage,
    JobPatch,
    JobRequest,
    JobSummary,
    MetricPage,
)
from api.jobs.validation import check_request
from api.jobs.views import attempt, checkpoint, detail, entry, point, summary
from api.registry.resolution import by_address, resolve
from ttm_core.spec.job import DistillSpec
from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs import crud, listing, ordering
from ttm_jobs.repositories.jobs.blocked import BlockedReason, BlockedReasons
from ttm_jobs.repositories.jobs.crud import Stamp
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.repositories.run_data import artifacts, events, metrics, recording
from ttm_jobs.settings import Settings
from ttm_jobs.states import TERMINAL, JobState
from ttm_jobs.telemetry import traces

log = structlog.get_logger()

_CURSOR = "jobs"
_WAIT_TOLD_SECONDS = 2.0


def create(session: Session, settings: Settings, request: JobRequest, *, owner: str | None) -> JobOut:
    """A queued job. Refusal, with an entry for each fault, if the spec cannot run whatever the worker."""
    resolved = resolve(session, request)
    request = resolved.request
    check_request(session, settings, request)
    job = crud.create(
        session,
        spec=request.model_dump(mode="json", include=set(DistillSpec.model_fields)),
        student=request.student.architecture,
        dataset=request.dataset.uri,
        method=request.method.kind,
        teacher=" + ".join(teacher.checkpoint for teacher in request.all_teachers)[:2048] or None,
        name=request.name,
        owner=owner,
        priority=request.priority,
        queue=request.queue or settings.queues[0],
        device_memory_bytes=request.device_memory_bytes,
        tags=request.tags,
        resolved_references=resolved.resolved_references,
        traceparent=traces.traceparent(),
        max_attempts=request.max_attempts or settings.max_attempts,
        deadline=timedelta(seconds=request.deadline) if isinstance(request.deadline, float) else request.deadline,
    )
    session.flush()
    # Where a request's id and its job's are beside each other.
    log.info("job accepted", job_id=job.id, project=job.project_id, queue=job.queue)
    # It has made nothing yet, and what there is to tell of it is at hand.
    history = [HistoryEntry(at=job.created_at, kind="state", value=job.state)]
    return detail(job, [], history, _wait(session, settings, job, at=job.created_at))


def get(session: Session, settings: Settings, job_id: str) -> JobOut:
    """JobNotFound."""
    return show(session, settings, crud.get(session, job_id))


def poll(
    session: Session, settings: Settings, job_id: str, condition: str | None, rendered: RenderedJobs
) -> tuple[bytes | None, str]:
    """The whole view as JSON, None if the condition names it; and its ETag. JobNotFound. An answer that was written out
    before costs as little as one that is not needed.
    """
    stamp = crud.stamp(session, job_id)
    if condition is not None and conditional.names(condition, etag(stamp.version)):
        return None, etag(stamp.version)
    body = rendered.get(job_id, stamp)
    if body is None:
        job = crud.get(session, job_id)
        stamp = Stamp(job.version, job.heartbeat_at)
        body = show(session, settings, job).model_dump_json().encode()
        # What a job waits for may change without the job.
        rendered.keep(job_id, stamp, body, seconds=_WAIT_TOLD_SECONDS if job.state is JobState.QUEUED else None)
    return body, etag(stamp.version)


def patch(session: Session, settings: Settings, job_id: str, wanted: JobPatch) -> JobOut:
    """Changes what is given. JobNotFound."""
    job = crud.get(session, job_id)
    if "name" in wanted.model_fields_set:
        job = crud.rename(session, job_id, name=wanted.name)
    if "tags" in wanted.model_fields_set:
        job = crud.tag(session, job_id, wanted.tags)
    session.flush()
    return show(session, settings, job)


def checkpoint_list(session: Session, job_id: str) -> CheckpointList:
    """JobNotFound."""
    job = crud.get(session, job_id)
    return CheckpointList(items=[checkpoint(row) for row in recording.checkpoints(session, job.id)])


def show(session: Session, settings: Settings, job: Job) -> JobOut:
    """The whole view of a job."""
    made, history = artifacts.of_job(session, job.id), map(entry, events.history(session, job.id))
    return detail(job, made, history, _wait(session, settings, job))


def _wait(session: Session, settings: Settings, job: Job, *, at: datetime | None = None) -> BlockedReason | None:
    return BlockedReasons(session, seen_within=timedelta(seconds=settings.worker_timeout_seconds), at=at).of(job)


def change(session: Session, settings: Settings, wish: Callable[[Session, str], Job], job_id: str) -> JobOut:
    """The job after a wish of its user: a repository function that may refuse it with a Conflict."""
    job = wish(session, job_id)
    session.flush()
    return show(session, settings, job)


def ordered(
    session: Session, order: str, *, descending: bool, limit: int, number: int, filters: JobFilters
) -> tuple[list[JobSummary], bool]:
    """Page `number` of the jobs in the order that `job_orders` names, and whether another follows."""
    found = ordering.page(
        session, order, descending=descending, limit=limit, number=number, filters=by_address(session, filters)
    )
    return [summary(job) for job in found.jobs], found.has_more


def page(
    session: Session,
    *,
    limit: int,
    cursor: str | None,
    filters: JobFilters | None = None,
    condition: str | None = None,
) -> tuple[JobPage, str]:
    """A page of jobs, newest first, and its ETag. NotModified if the condition names it."""
    before = None if cursor is None else decode_cursor(_CURSOR, cursor, decode_time_cursor)
    found = listing.page(session, limit=limit, before=before, filters=filters and by_address(session, filters))
    seen = f"{found.has_more} " + " ".join(f"{job.id}:{job.version}" for job in found.jobs)
    tag = f'W/"{sha256(seen.encode()).hexdigest()[:32]}"'
    conditional.check(condition, tag)
    last = found.jobs[-1] if found.has_more else None
    following = None if last is None else encode_cursor(_CURSOR, encode_time_cursor(last.created_at, last.id))
    items = [summary(job) for job in found.jobs]
    return JobPage(items=items, next_cursor=following, has_more=found.has_more), tag


def attempt_list(session: Session, job_id: str) -> AttemptList:
    """Every attempt, oldest first. JobNotFound."""
    job = crud.get(session, job_id)
    return AttemptList(items=[attempt(row) for row in crud.attempts(session, job.id)])


def thin_metrics(
    session: Session, job_id: str, *, names: Sequence[str], after_step: int, max_points: int
) -> MetricPage:
    """Some of the numbers of a job, evenly over all its steps. JobNotFound."""
    job = crud.get(session, job_id)
    points = metrics.thinned(session, job, names=names, after_step=after_step, max_points=max_points)
    return MetricPage(items=[point(row) for row in points], has_more=False, next_after_step=None)


def metric_page(session: Session, job_id: str, *, names: Sequence[str], after_step: int, limit: int) -> MetricPage:
    """The numbers of a job by step. JobNotFound."""
    points = metrics.points(session, crud.get(session, job_id), names=names, after_step=after_step, limit=limit + 1)
    has_more = len(points) > limit
    items = [point(row) for row in points[:limit]]
    return MetricPage(items=items, has_more=has_more, next_after_step=items[-1].step if has_more else None)


@dataclass(frozen=True)
class StreamStart:
    """Where a listener begins: after event `after`; `newest` is the job's newest. `over`: nothing more will come."""

    job_id: str
    after: int
    newest: int
    over: bool


def stream_start(session: Session, job_id: str, last_event_id: str | None) -> StreamStart:
    """JobNotFound; Refusal for an id that no event has."""
    job = crud.get(session, job_id)
    if last_event_id and not (last_event_id.isascii() and last_event_id.isdecimal()):
        error = InvalidRequest("Last-Event-ID is the number of an event.")
        raise Refusal((error, FieldError(pointer="/last-event-id", detail=error.message, where="header")))
    after = min(int(last_event_id or 0), job.last_event_number)
    over = job.state in TERMINAL and after == job.last_event_number
    return StreamStart(job.id, after, job.last_event_number, over)
