"""Jobs as their users see them: made, read, listed, and wished to end, rest or go on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from ttm_jobs.clock import now
from ttm_jobs.errors import (
    JobNotCancellable,
    JobNotFound,
    JobNotPausable,
    JobNotResumable,
    JobNotRetryable,
)
from ttm_jobs.ids import new_id
from ttm_jobs.models import Attempt, Job, JobEvent
from ttm_jobs.models.base import Json
from ttm_jobs.models.job import WAITING
from ttm_jobs.repositories.transitions import enqueue, locked, move, owe_ring
from ttm_jobs.states import JobState

DEFAULT_PRIORITY = 5


@dataclass(frozen=True)
class JobPage:
    """`has_more` says whether a page follows the last of `jobs`."""

    jobs: Sequence[Job]
    has_more: bool


def create(
    session: Session,
    *,
    spec: Json,
    student: str,
    dataset: str,
    method: str,
    teacher: str | None = None,
    name: str | None = None,
    priority: int = DEFAULT_PRIORITY,
    max_attempts: int = 3,
    retry_of: str | None = None,
) -> Job:
    """A queued job and the ring it is owed.

    `spec` is the JSON of the whole description; the other words are the parts of it that lists show.
    """
    at = now(session)
    job = Job(
        id=new_id(),
        name=name,
        state=JobState.QUEUED,
        spec=spec,
        teacher=teacher,
        student=student,
        dataset=dataset,
        method=method,
        priority=priority,
        max_attempts=max_attempts,
        retry_of=retry_of,
        attempt=0,
        lease_epoch=0,
        told=0,
        latest={},
        last_event=1,
        created_at=at,
        queued_at=at,
        rung_at=at,
    )
    session.add(job)
    # The event names the row.
    session.flush()
    session.add(JobEvent(job_id=job.id, number=1, kind="state", data={"state": JobState.QUEUED, "from": None}, at=at))
    owe_ring(session, job, at)
    return job


def get(session: Session, job_id: str) -> Job:
    """JobNotFound."""
    job = session.get(Job, job_id)
    if job is None:
        raise JobNotFound
    return job


def page(
    session: Session,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
    states: Collection[JobState] = (),
) -> JobPage:
    """Newest first; `before` is (created_at, id) of the last job of the page before. No states: all of them."""
    query = select(Job).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(tuple_(Job.created_at, Job.id) < before)
    if states:
        query = query.where(Job.state.in_(states))
    jobs = session.scalars(query).all()
    return JobPage(jobs[:limit], has_more=len(jobs) > limit)


def attempts(session: Session, job_id: str) -> Sequence[Attempt]:
    """Every claim of a job, oldest first."""
    return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.lease_epoch)).all()


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
    enqueue(session, job, now(session), timedelta(0))
    return job


def retry(session: Session, job_id: str) -> Job:
    """A new job with the same spec, which names the old one; the old one stays as it is."""
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
        priority=old.priority,
        max_attempts=old.max_attempts,
        retry_of=old.id,
    )


def ring_again(session: Session, *, after: timedelta, limit: int) -> Sequence[Job]:
    """Owes another ring to waiting jobs whose ring was due `after` ago: it, or the broker, was lost."""
    at = now(session)
    jobs = session.scalars(
        select(Job)
        .where(WAITING, Job.rung_at <= at - after)
        .order_by(Job.priority.desc(), Job.queued_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for job in jobs:
        job.rung_at = at
        owe_ring(session, job, at)
    return jobs
