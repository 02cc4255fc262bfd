"""Cancels, pauses, resumes and retries jobs."""

from datetime import timedelta

from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.errors import JobNotCancellable, JobNotPausable, JobNotResumable, JobNotRetryable
from ttm_jobs.models import Job
from ttm_jobs.repositories.access import quotas
from ttm_jobs.repositories.jobs.crud import create, get
from ttm_jobs.repositories.jobs.transitions import enqueue, locked, move
from ttm_jobs.states import JobState
from ttm_jobs.studies.facts import JobKind


def request_cancel(session: Session, job_id: str) -> Job:
    """Cancels a job: immediately if no worker holds it, else once its worker has stopped. Idempotent."""
    job = locked(session, job_id)
    at = now(session)
    match job.state:
        case JobState.QUEUED | JobState.PAUSED:
            move(session, job, JobState.CANCELLING, at)
            move(session, job, JobState.CANCELLED, at)
            job.cancel_requested_at = at
        case JobState.RUNNING | JobState.PAUSING:
            move(session, job, JobState.CANCELLING, at)
            job.cancel_requested_at = at
        case JobState.CANCELLING | JobState.CANCELLED:
            pass
        case JobState.SUCCEEDED | JobState.FAILED:
            raise JobNotCancellable
    return job


def request_pause(session: Session, job_id: str) -> Job:
    """Pauses a job: immediately if it is queued, else once its worker has saved a checkpoint and stopped."""
    job = locked(session, job_id)
    at = now(session)
    match job.state:
        case JobState.QUEUED:
            move(session, job, JobState.PAUSING, at)
            move(session, job, JobState.PAUSED, at)
        case JobState.RUNNING:
            move(session, job, JobState.PAUSING, at)
        case JobState.PAUSING | JobState.PAUSED:
            pass
        case JobState.CANCELLING | JobState.CANCELLED | JobState.SUCCEEDED | JobState.FAILED:
            raise JobNotPausable
    return job


def resume(session: Session, job_id: str) -> Job:
    """Queues a paused job again; it resumes from its last checkpoint."""
    job = locked(session, job_id)
    if job.state is not JobState.PAUSED:
        raise JobNotResumable
    quotas.check_new_job(session, job.project_id)
    enqueue(session, job, now(session), timedelta(0))
    return job


def retry(session: Session, job_id: str, *, owner: str | None = None) -> Job:
    """Creates a new job with the spec of a failed or cancelled one, but without its deadline and outside its study. The
    old job is unchanged. Raises JobNotRetryable, also for the jobs of a study that train no student.
    """
    old = get(session, job_id)
    if old.state not in (JobState.FAILED, JobState.CANCELLED):
        raise JobNotRetryable
    if old.kind is not JobKind.DISTILL:
        # Its spec describes a job that trains a student: the retry would be one.
        raise JobNotRetryable(f"The {old.kind} job of a study cannot be retried. Submit the study again.")
    return create(
        session,
        spec=old.spec,
        student=old.student,
        dataset=old.dataset,
        method=old.method,
        teacher=old.teacher,
        name=old.name,
        owner=owner,
        priority=old.priority,
        queue=old.queue,
        device_kind=old.device_kind,
        gpus=old.gpus,
        device_memory_bytes=old.device_memory_bytes,
        architectures=old.architectures,
        max_attempts=old.max_attempts,
        retry_of=old.id,
        tags=old.tags,
        resolved_references=old.resolved_references,
    )
