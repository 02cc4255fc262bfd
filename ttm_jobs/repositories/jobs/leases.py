"""Leases: claim, extend, fence and expire, by compare-and-set on the database's clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.errors import JobNotFound, LeaseLost
from ttm_jobs.models import Attempt, Job
from ttm_jobs.models.job import HOLDING
from ttm_jobs.repositories.access import quotas
from ttm_jobs.repositories.jobs import lifecycle, scheduling
from ttm_jobs.repositories.jobs.lifecycle import Failure
from ttm_jobs.repositories.jobs.scheduling import WorkerCapacity
from ttm_jobs.repositories.jobs.transitions import locked, move
from ttm_jobs.states import HELD, JobState


@dataclass(frozen=True)
class Lease:
    """The right of the worker `owner` to write a job's run. Each claim increments `epoch`."""

    job_id: str
    owner: str
    epoch: int


@dataclass(frozen=True)
class LeaseStatus:
    """The result of a heartbeat: the job's state, which may be a stop request (cancelling or pausing), and whether its
    deadline has passed.
    """

    state: JobState
    overdue: bool


def claim_next(session: Session, owner: str, *, duration: timedelta, capacity: WorkerCapacity) -> Lease | None:
    """Claims the next job in scheduling order. Returns None if no queued job fits the worker's capacity."""
    for job_id in scheduling.candidates(session, capacity):
        if (lease := claim(session, job_id, owner, duration=duration)) is not None:
            return lease
    return None


def claim(session: Session, job_id: str, owner: str, *, duration: timedelta) -> Lease | None:
    """Claims a queued job. Returns None if it is not queued, not due, or its project is at its limit of running jobs.

    Exactly one of several concurrent claims succeeds.
    """
    try:
        job = locked(session, job_id)
    except JobNotFound:
        return None
    at = now(session)
    if job.state is not JobState.QUEUED or (job.not_before is not None and job.not_before > at):
        return None
    if job.deadline_at is not None and job.deadline_at <= at:
        return None
    if not quotas.may_run(session, job.project_id):
        return None
    last = session.get(Attempt, (job.id, job.lease_epoch))
    # A paused or released attempt does not count against `max_attempts`, so the next one has the same number.
    if last is None or last.outcome not in ("paused", "released"):
        job.attempt += 1
    job.lease_epoch += 1
    job.last_event_seq = 0
    move(session, job, JobState.RUNNING, at, attempt=job.attempt, worker=owner)
    job.lease_owner = owner
    job.lease_until = at + duration
    job.heartbeat_at = at
    job.started_at = job.started_at or at
    job.attempt_started_at = at
    session.add(Attempt(job_id=job.id, lease_epoch=job.lease_epoch, number=job.attempt, worker_id=owner, started_at=at))
    return Lease(job.id, owner, job.lease_epoch)


def heartbeat(session: Session, lease: Lease, *, duration: timedelta) -> LeaseStatus:
    """Extends the lease. Raises LeaseLost."""
    # Updates the table, not the mapped class: a heartbeat does not change the job's version.
    jobs = Job.metadata.tables[Job.__tablename__]
    held_by_lease = (
        jobs.c.id == lease.job_id,
        jobs.c.lease_owner == lease.owner,
        jobs.c.lease_epoch == lease.epoch,
        jobs.c.state.in_(HELD),
    )
    row = session.execute(select(jobs.c.state, jobs.c.deadline_at).where(*held_by_lease).with_for_update()).first()
    if row is None:
        raise LeaseLost
    # Read after locking the row: waiting for the lock must not count against the lease.
    at = now(session)
    session.execute(update(jobs).where(*held_by_lease).values(lease_until=at + duration, heartbeat_at=at))
    return LeaseStatus(JobState(row.state), overdue=row.deadline_at is not None and row.deadline_at <= at)


def fence(session: Session, lease: Lease) -> Job:
    """Returns the locked job for a write under the lease. Raises LeaseLost if the lease is no longer valid."""
    try:
        job = locked(session, lease.job_id)
    except JobNotFound:
        raise LeaseLost from None
    if job.lease_owner != lease.owner or job.lease_epoch != lease.epoch or job.state not in HELD:
        raise LeaseLost
    return job


def expire(session: Session, *, backoff: timedelta, limit: int = 100) -> Sequence[Job]:
    """Requeues or fails the jobs of unresponsive workers. Any number of processes may call this concurrently."""
    jobs = session.scalars(
        select(Job)
        .where(HOLDING, Job.lease_until <= now(session))
        .order_by(Job.lease_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for job in jobs:
        lost = Failure(
            "worker_lost", "The worker stopped responding and lost its lease.", origin="system", retryable=True
        )
        lifecycle.attempt_failed(session, job, lost, backoff=backoff, outcome="lost")
    return jobs


def release_all(session: Session, *, reason: str) -> int:
    """Ends the attempts of all held jobs at their last heartbeat and returns the number of jobs. For a service that
    lost its workers through no fault of their jobs: the attempts do not count against `max_attempts`.
    """
    jobs = session.scalars(select(Job).where(HOLDING).order_by(Job.id).with_for_update()).all()
    for job in jobs:
        lifecycle.released(session, job, reason=reason, ended_at=job.heartbeat_at)
    return len(jobs)
