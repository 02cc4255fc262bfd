"""Jobs: creation, lists, updates, metrics and event streams."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

import structlog
from sqlalchemy.orm import Session

from api.architectures import installed
from api.http import conditional_requests
from api.http.pagination import decode_cursor, decode_time_cursor, encode_cursor, encode_time_cursor
from api.jobs.parameters import etag
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
from api.jobs.validation.request import check_request
from api.jobs.views import attempt, checkpoint, detail, entry, point, summary
from api.live.rendered import RenderedJobs
from api.registry.resolution import resolve, resolve_filters
from ttm_core.spec.job import DistillSpec
from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs import crud, listing, ordering
from ttm_jobs.repositories.jobs.blocked import BlockedReason, BlockedReasons
from ttm_jobs.repositories.jobs.crud import Stamp
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.repositories.run_data import artifacts, events, metrics, recording
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from ttm_jobs.telemetry import traces

log = structlog.get_logger()

_CURSOR = "jobs"
_BLOCKED_CACHE_SECONDS = 2.0


def create(session: Session, settings: Settings, request: JobRequest, *, owner: str | None) -> JobOut:
    """Creates a queued job. Raises FieldErrors with all errors of the spec that can be detected without a worker."""
    resolved = resolve(session, request)
    request = resolved.request
    check_request(session, settings, request)
    job = crud.create(
        session,
        spec=request.model_dump(mode="json", include=set(DistillSpec.model_fields)),
        student=request.student_label[:128],
        dataset=request.dataset.uri,
        method=request.method.kind,
        teacher=" + ".join(teacher.checkpoint for teacher in request.all_teachers)[:2048] or None,
        name=request.name,
        owner=owner,
        priority=request.priority,
        queue=request.queue or settings.queues[0],
        device_kind=request.device,
        gpus=request.training.devices,
        device_memory_bytes=request.device_memory_bytes,
        architectures=installed.needed(session, settings, [request.student, *request.all_teachers]),
        tags=request.tags,
        resolved_references=resolved.resolved_references,
        traceparent=traces.traceparent(),
        max_attempts=request.max_attempts or settings.max_attempts,
        deadline=timedelta(seconds=request.deadline) if isinstance(request.deadline, float) else request.deadline,
    )
    session.flush()
    # Links the request id to the job id in the log.
    log.info("job accepted", job_id=job.id, project=job.project_id, queue=job.queue)
    # A new job has no artifacts, and its history is known without a query.
    history = [HistoryEntry(at=job.created_at, kind="state", value=job.state)]
    return detail(job, [], history, _blocked(session, settings, job, at=job.created_at))


def get(session: Session, settings: Settings, job_id: str) -> JobOut:
    """A job with all its details. Raises JobNotFound."""
    return show(session, settings, crud.get(session, job_id))


def poll(
    session: Session, settings: Settings, job_id: str, condition: str | None, rendered: RenderedJobs
) -> tuple[bytes | None, str]:
    """The job as JSON and its ETag. The JSON is None if the condition matches the ETag. Raises JobNotFound."""
    stamp = crud.stamp(session, job_id)
    if condition is not None and conditional_requests.matches(condition, etag(job_id, stamp.version)):
        return None, etag(job_id, stamp.version)
    body = rendered.get(job_id, stamp)
    if body is None:
        job = crud.get(session, job_id)
        stamp = Stamp(job.version, job.heartbeat_at)
        body = show(session, settings, job).model_dump_json().encode()
        # Why a queued job is blocked can change without the job's version.
        rendered.put(job_id, stamp, body, seconds=_BLOCKED_CACHE_SECONDS if job.state is JobState.QUEUED else None)
    return body, etag(job_id, stamp.version)


def patch(session: Session, settings: Settings, job_id: str, changes: JobPatch) -> JobOut:
    """Applies the given changes. Raises JobNotFound."""
    job = crud.get(session, job_id)
    if "name" in changes.model_fields_set:
        job = crud.rename(session, job_id, name=changes.name)
    if "tags" in changes.model_fields_set:
        job = crud.tag(session, job_id, changes.tags)
    session.flush()
    return show(session, settings, job)


def checkpoint_list(session: Session, job_id: str) -> CheckpointList:
    """The stored checkpoints of a job. Raises JobNotFound."""
    job = crud.get(session, job_id)
    return CheckpointList(items=[checkpoint(row) for row in recording.checkpoints(session, job.id)])


def show(session: Session, settings: Settings, job: Job) -> JobOut:
    """A job with all its details."""
    files, history = artifacts.of_job(session, job.id), map(entry, events.history(session, job.id))
    return detail(job, files, history, _blocked(session, settings, job))


def _blocked(session: Session, settings: Settings, job: Job, *, at: datetime | None = None) -> BlockedReason | None:
    return BlockedReasons(session, seen_within=timedelta(seconds=settings.worker_timeout_seconds), at=at).of(job)


def change(session: Session, settings: Settings, action: Callable[[Session, str], Job], job_id: str) -> JobOut:
    """The job after an action: a repository function, which raises a Conflict if the state does not allow it."""
    job = action(session, job_id)
    session.flush()
    return show(session, settings, job)


def ordered(
    session: Session, order: str, *, descending: bool, limit: int, number: int, filters: JobFilters
) -> tuple[list[JobSummary], bool]:
    """Page `number` of the jobs sorted by `order`, and whether another page follows."""
    found = ordering.page(
        session, order, descending=descending, limit=limit, number=number, filters=resolve_filters(session, filters)
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
    """A page of jobs, newest first, and its ETag. Raises NotModified if the condition matches the ETag."""
    before = None if cursor is None else decode_cursor(_CURSOR, cursor, decode_time_cursor)
    found = listing.page(session, limit=limit, before=before, filters=filters and resolve_filters(session, filters))
    versions = f"{found.has_more} " + " ".join(f"{job.id}:{job.version}" for job in found.jobs)
    tag = f'W/"{sha256(versions.encode()).hexdigest()[:32]}"'
    conditional_requests.check(condition, tag)
    last = found.jobs[-1] if found.has_more else None
    following = None if last is None else encode_cursor(_CURSOR, encode_time_cursor(last.created_at, last.id))
    items = [summary(job) for job in found.jobs]
    return JobPage(items=items, next_cursor=following, has_more=found.has_more), tag


def state_counts(session: Session, filters: JobFilters) -> dict[JobState, int]:
    """The number of jobs in each state that pass all filters except `states`."""
    return listing.state_counts(session, resolve_filters(session, filters))


def attempt_list(session: Session, job_id: str) -> AttemptList:
    """The attempts of a job, oldest first. Raises JobNotFound."""
    job = crud.get(session, job_id)
    return AttemptList(items=[attempt(row) for row in crud.attempts(session, job.id)])


def thin_metrics(
    session: Session, job_id: str, *, names: Sequence[str], after_step: int, max_points: int
) -> MetricPage:
    """At most `max_points` metric points, evenly distributed over all steps. Raises JobNotFound."""
    job = crud.get(session, job_id)
    points = metrics.thinned(session, job, names=names, after_step=after_step, max_points=max_points)
    return MetricPage(items=[point(row) for row in points], has_more=False, next_after_step=None)


def metric_page(session: Session, job_id: str, *, names: Sequence[str], after_step: int, limit: int) -> MetricPage:
    """A page of metric points by step. Raises JobNotFound."""
    points = metrics.points(session, crud.get(session, job_id), names=names, after_step=after_step, limit=limit + 1)
    has_more = len(points) > limit
    items = [point(row) for row in points[:limit]]
    return MetricPage(items=items, has_more=has_more, next_after_step=items[-1].step if has_more else None)
