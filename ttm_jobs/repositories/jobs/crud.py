"""Jobs as their users see them: made, read, listed, and wished to end, rest or go on."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.database.ids import new_id
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import (
    JobNotCancellable,
    JobNotDeletable,
    JobNotFound,
    JobNotPausable,
    JobNotResumable,
    JobNotRetryable,
)
from ttm_jobs.models import Attempt, Job, JobEvent, JobTag
from ttm_jobs.models.base import Json
from ttm_jobs.models.job import WAITING
from ttm_jobs.repositories import uploads, webhooks
from ttm_jobs.repositories.access import quotas
from ttm_jobs.repositories.jobs.transitions import enqueue, enqueue_wake_up, locked, move
from ttm_jobs.settings import DEFAULT_QUEUE
from ttm_jobs.states import TERMINAL, JobState
from ttm_jobs.uris import uploads_in

DEFAULT_PRIORITY = 5


def create(
    session: Session,
    *,
    spec: Json,
    student: str,
    dataset: str,
    method: str,
    teacher: str | None = None,
    name: str | None = None,
    owner: str | None = None,
    priority: int = DEFAULT_PRIORITY,
    queue: str = DEFAULT_QUEUE,
    device_memory_bytes: int | None = None,
    max_attempts: int = 3,
    deadline: datetime | timedelta | None = None,
    retry_of: str | None = None,
    tags: Collection[str] = (),
    resolved_references: Mapping[str, str] | None = None,
    traceparent: str | None = None,
) -> Job:
    """A queued job of the session's project, and the ring it is owed. QuotaExceeded.

    `spec` is the JSON of the whole description; the other words are the parts of it that lists show. `resolved_references` tells
    which names it was made from. `owner` is who submits it. `deadline` is a point in time, or counts from now.
    """
    project_id = project_of(session)
    quotas.check_new_job(session, project_id)
    at = now(session)
    job = Job(
        id=new_id(),
        project_id=project_id,
        name=name,
        owner=owner,
        tags=sorted(set(tags)),
        state=JobState.QUEUED,
        spec=spec,
        resolved_references=dict(resolved_references or {}),
        teacher=teacher,
        student=student,
        dataset=dataset,
        method=method,
        priority=priority,
        queue=queue,
        device_memory_bytes=device_memory_bytes,
        traceparent=traceparent,
        max_attempts=max_attempts,
        deadline_at=at + deadline if isinstance(deadline, timedelta) else deadline,
        retry_of=retry_of,
        attempt=0,
        lease_epoch=0,
        last_event_seq=0,
        latest={},
        last_event_number=1,
        created_at=at,
        queued_at=at,
        notified_at=at,
    )
    session.add(job)
    # The event names the row.
    session.flush()
    _index_tags(session, job)
    uploads.named(session, uploads_in(json.dumps(spec)))
    session.add(JobEvent(job_id=job.id, number=1, kind="state", data={"state": JobState.QUEUED, "from": None}, at=at))
    enqueue_wake_up(session, job, at)
    webhooks.tell(session, job, None, at)
    return job


def get(session: Session, job_id: str) -> Job:
    """JobNotFound."""
    job = session.get(Job, job_id)
    if job is None:
        raise JobNotFound
    return job


class Stamp(NamedTuple):
    """What changes whenever a view of the job does; `version` alone changes with all but the heartbeat."""

    version: int
    heartbeat_at: datetime | None


_table = Job.__table__
_STAMP = select(_table.c.version, _table.c.heartbeat_at).where(
    _table.c.id == bindparam("job_id"), _table.c.project_id == bindparam("project_id")
)


def stamp(session: Session, job_id: str) -> Stamp:
    """All that a poll asks for, of a job of the session's project. JobNotFound."""
    # What is asked most of all names the project itself: the session's own way of doing so costs more than the row.
    asked = {"job_id": job_id, "project_id": project_of(session)}
    found = session.connection().execute(_STAMP, asked).first()
    if found is None:
        raise JobNotFound
    return Stamp(found.version, found.heartbeat_at)


def attempts(session: Session, job_id: str) -> Sequence[Attempt]:
    """Every claim of a job, oldest first."""
    return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.lease_epoch)).all()


def _index_tags(session: Session, job: Job) -> None:
    session.add_all(
        JobTag(job_id=job.id, tag=tag, project_id=job.project_id, created_at=job.created_at) for tag in job.tags
    )


def rename(session: Session, job_id: str, *, name: str | None) -> Job:
    """Whatever the job's state. JobNotFound."""
    job = locked(session, job_id)
    job.name = name
    return job


def tag(session: Session, job_id: str, tags: Collection[str]) -> Job:
    """Gives a job these tags in the place of those it has, whatever its state. JobNotFound."""
    job = locked(session, job_id)
    job.tags = sorted(set(tags))
    session.execute(delete(JobTag).where(JobTag.job_id == job.id))
    _index_tags(session, job)
    return job


def remove(session: Session, job_id: str) -> None:
    """Forgets a job that has ended, with all that is recorded of it; its objects are collected later. JobNotFound,
    JobNotDeletable.
    """
    job = locked(session, job_id)
    if job.state not in TERMINAL:
        raise JobNotDeletable
    # Who shows them names the old one no more.
    session.execute(update(Job).where(Job.retry_of == job.id).values(version=Job.version + 1))
    # The database removes what depends on the row.
    session.execute(delete(Job).where(Job.id == job.id))


def request_cancel(session: Session, job_id: str) -> Job:
    """A job nobody holds is cancelled at once; a held one when its worker lets go. Repeating the wish is no error."""
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
    """A queued job rests at once; a running one when its worker has saved a checkpoint and let go."""
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
    """A paused job goes back to the queue and on from its last checkpoint."""
    job = locked(session, job_id)
    if job.state is not JobState.PAUSED:
        raise JobNotResumable
    quotas.check_new_job(session, job.project_id)
    enqueue(session, job, now(session), timedelta(0))
    return job


def retry(session: Session, job_id: str, *, owner: str | None = None) -> Job:
    """A new job with the same spec, which names the old one and belongs to who retries it; the old one stays as it is,
    and its deadline was its own.
    """
    old = get(session, job_id)
    if old.state not in (JobState.FAILED, JobState.CANCELLED):
        raise JobNotRetryable
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
        device_memory_bytes=old.device_memory_bytes,
        max_attempts=old.max_attempts,
        retry_of=old.id,
        tags=old.tags,
        resolved_references=old.resolved_references,
    )


def renotify_queued(session: Session, *, after: timedelta, limit: int, queue: str = DEFAULT_QUEUE) -> Sequence[Job]:
    """Owes another ring to waiting jobs of a queue whose ring was due `after` ago: it, or the broker, was lost. It only
    calls a worker: which job is taken then is decided by whose turn it is.
    """
    at = now(session)
    jobs = session.scalars(
        select(Job)
        .where(
            WAITING,
            Job.queue == queue,
            Job.notified_at <= at - after,
            Job.project_id.not_in(quotas.at_their_limit(session)),
        )
        .order_by(Job.notified_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for job in jobs:
        job.notified_at = at
        enqueue_wake_up(session, job, at)
    return jobs
