"""Routes of jobs."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints

from api.dependencies import CallerDep, EngineDep, ServicesDep, SettingsDep
from api.http.conditional_requests import IfNoneMatch
from api.http.errors import InvalidCursor, InvalidRequest, ReaderUnavailable, TooManyInspections
from api.http.idempotency import IdempotencyDep, location_header
from api.http.json_bodies import BODY_ERRORS, JsonRoute
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.http.types import JobId
from api.jobs import service
from api.jobs.parameters import FiltersDep, JobBody, PollDep
from api.jobs.schemas import (
    AttemptList,
    CheckpointList,
    Dryrun,
    JobOut,
    JobPage,
    JobPatch,
    MetricPage,
)
from api.jobs.validation.checkpoints import UnusableCheckpoint, check_checkpoints, uploaded_files
from api.jobs.validation.dry_run import dry_run
from api.jobs.validation.request import SPEC_ERRORS
from api.registry.resolution import resolve
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import (
    AmbiguousJob,
    IdempotencyKeyReused,
    JobNotCancellable,
    JobNotDeletable,
    JobNotFound,
    JobNotPausable,
    JobNotResumable,
    JobNotRetryable,
    QuotaExceeded,
    RequestInFlight,
)
from ttm_jobs.repositories.jobs import control, crud

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=JsonRoute)

_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "The ETag in `If-None-Match` is current."}}
MetricName = Annotated[str, StringConstraints(max_length=100, pattern=r"^[\w/.-]+$")]


@router.post(
    "",
    operation_id="jobs_create",
    summary="Submit a distillation job",
    status_code=201,
    response_model=JobOut,
    responses=location_header("the job")
    | problems(*SPEC_ERRORS, QuotaExceeded, IdempotencyKeyReused, RequestInFlight, *BODY_ERRORS),
)
def jobs_create(
    request: JobBody,
    idempotent: IdempotencyDep,
    engine: EngineDep,
    settings: SettingsDep,
    caller: CallerDep,
) -> Response:
    """Creates a job and queues it. Only the teacher's checkpoint, the student's architecture and the dataset are
    required; all other fields have defaults. `teacher:NAME` and `dataset:NAME` refer to named teachers and datasets
    of the project, in their latest version unless `@VERSION` is appended. The response contains the complete spec.
    """
    create = partial(service.create, settings=settings, request=request, owner=caller.name)
    return idempotent.respond(engine, request, create, _location)


@router.post(
    "/validate",
    operation_id="jobs_validate",
    summary="Validate a job without submitting it",
    responses=problems(*SPEC_ERRORS, UnusableCheckpoint, TooManyInspections, ReaderUnavailable, *BODY_ERRORS),
)
def jobs_validate(request: JobBody, engine: EngineDep, services: ServicesDep) -> Dryrun:
    """Returns the same errors as `POST /jobs`, or the spec with its defaults, the size of the models, and an estimate
    from a similar job. Uploaded checkpoints are inspected as well: their tensors must fit their architecture. Creates
    nothing.
    """
    with read_scope(engine) as session:
        resolved = resolve(session, request)
        result = dry_run(session, services.settings, resolved)
        files = uploaded_files(session, resolved.request)
    checkpoints = check_checkpoints(services.inspector, resolved.request, files)
    return result.model_copy(update={"checkpoints": checkpoints})


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
    """A page of the project's jobs. Jobs must match all given filters. New jobs do not shift later pages."""
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
    responses=_UNCHANGED | problems(JobNotFound, AmbiguousJob),
)
def jobs_get(poll: PollDep) -> Response:
    """State, phase, progress, latest metrics, accuracy, spec, artifacts and history of a job. With `If-None-Match` and
    `Prefer: wait=N` the request waits until the job changes. The ETag does not change with the heartbeat."""
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
    responses=problems(JobNotFound, InvalidRequest, *BODY_ERRORS),
)
def jobs_update(job_id: JobId, changes: JobPatch, engine: EngineDep, settings: SettingsDep) -> JobOut:
    """Changes the name or the tags, in any state. Omitted fields are unchanged; `tags` replaces all existing tags."""
    with session_scope(engine) as session:
        return service.patch(session, settings, job_id, changes)


@router.delete(
    "/{job_id}",
    operation_id="jobs_delete",
    summary="Delete a job that has ended",
    status_code=204,
    responses=problems(JobNotFound, JobNotDeletable),
)
def jobs_delete(job_id: JobId, engine: EngineDep) -> None:
    """Deletes a job with its metrics, events and artifacts. Stored files are deleted within about a day. Jobs that were
    started from its student are not affected."""
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
    name: Annotated[list[MetricName], Query(max_length=50, description="Only this metric. May be repeated.")] = [],  # noqa: B006
    after_step: Annotated[int, Query(ge=-1, lt=2**63, description="Only steps after this one.")] = -1,
    limit: Annotated[int, Query(ge=1, le=1000, description="Maximum number of steps in the page.")] = 1000,
    max_points: Annotated[
        int | None,
        Query(
            ge=2,
            le=2000,
            description="Instead of pages, return at most this many points per metric, evenly distributed over all "
            "steps. "
            "Values are not averaged.",
        ),
    ] = None,
) -> MetricPage:
    """The recorded metrics, by step."""
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
    """The checkpoints from which the job can resume. They are internal and cannot be downloaded."""
    with read_scope(engine) as session:
        return service.checkpoint_list(session, job_id)


@router.get(
    "/{job_id}/attempts",
    operation_id="jobs_attempts",
    summary="List a job's attempts",
    responses=problems(JobNotFound),
)
def jobs_attempts(job_id: JobId, engine: EngineDep) -> AttemptList:
    """The attempts with worker, times, steps, outcome, and the cause of a failure."""
    with read_scope(engine) as session:
        return service.attempt_list(session, job_id)


@router.post(
    "/{job_id}/cancel",
    operation_id="jobs_cancel",
    summary="Cancel a job",
    responses=problems(JobNotFound, JobNotCancellable),
)
def jobs_cancel(job_id: JobId, engine: EngineDep, settings: SettingsDep) -> JobOut:
    """Cancels a queued job immediately. A running job is `cancelling` until its worker has stopped. Repeating the
    request has no effect.
    """
    with session_scope(engine) as session:
        return service.change(session, settings, control.request_cancel, job_id)


@router.post(
    "/{job_id}/pause",
    operation_id="jobs_pause",
    summary="Pause a job",
    responses=problems(JobNotFound, JobNotPausable),
)
def jobs_pause(job_id: JobId, engine: EngineDep, settings: SettingsDep) -> JobOut:
    """Pauses a job: the worker saves a checkpoint and becomes free for other jobs. The job is then `paused`."""
    with session_scope(engine) as session:
        return service.change(session, settings, control.request_pause, job_id)


@router.post(
    "/{job_id}/resume",
    operation_id="jobs_resume",
    summary="Resume a paused job",
    responses=problems(JobNotFound, JobNotResumable),
)
def jobs_resume(job_id: JobId, engine: EngineDep, settings: SettingsDep) -> JobOut:
    """Queues the job again. It continues from its last checkpoint."""
    with session_scope(engine) as session:
        return service.change(session, settings, control.resume, job_id)


@router.post(
    "/{job_id}/retry",
    operation_id="jobs_retry",
    summary="Retry a failed or cancelled job",
    status_code=201,
    response_model=JobOut,
    responses=location_header("the new job")
    | problems(JobNotFound, JobNotRetryable, QuotaExceeded, InvalidRequest, IdempotencyKeyReused, RequestInFlight),
)
def jobs_retry(
    job_id: JobId, idempotent: IdempotencyDep, engine: EngineDep, settings: SettingsDep, caller: CallerDep
) -> Response:
    """Creates a new job with the same spec, owned by the caller, with `retry_of` set to this job. This job is
    unchanged. The new job of a study's job is not part of the study; its jobs that train no student cannot be retried.
    """
    retry = partial(control.retry, owner=caller.name)
    return idempotent.respond(engine, None, lambda session: service.change(session, settings, retry, job_id), _location)


def _location(job: JobOut) -> str:
    return job.links.self
