"""Ends attempts and jobs. Each function takes the job from `leases.fence` and returns its new state.

A pending stop request wins: a cancelling job is cancelled whatever the result of its trainer.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import Attempt, Job
from ttm_jobs.models.base import Json
from ttm_jobs.models.job import UNHELD_WITH_DEADLINE
from ttm_jobs.repositories.jobs.transitions import enqueue, move
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.states import JobState

_LONGEST_BACKOFF = timedelta(minutes=10)


@dataclass(frozen=True)
class Failure:
    """Why an attempt or a job failed. `code` is stable; `message` is for people."""

    code: str
    message: str
    origin: Literal["user", "system"]
    retryable: bool


def succeeded(session: Session, job: Job, *, result: Json, files: Sequence[PublishedFile]) -> JobState:
    """Records artifacts, result and terminal state atomically."""
    at = now(session)
    if job.state is JobState.CANCELLING:
        return _cancelled(session, job, at)
    artifacts.record(session, job, files)
    job.result = result
    move(session, job, JobState.SUCCEEDED, at)
    _close_attempt(session, job, "succeeded", at)
    return job.state


def stage_succeeded(session: Session, job: Job, *, files: Sequence[PublishedFile] = ()) -> JobState:
    """Ends a job of a study that trains no student. `files` are for devices that measure them."""
    at = now(session)
    if job.state is JobState.CANCELLING:
        return _cancelled(session, job, at)
    artifacts.record(session, job, files)
    move(session, job, JobState.SUCCEEDED, at)
    _close_attempt(session, job, "succeeded", at)
    return job.state


def paused_after_epoch(session: Session, job: Job, epoch: int, accuracy: float) -> JobState:
    """Ends an attempt at the end of a rung of its study: the job becomes paused. `accuracy` is the best validation
    accuracy up to the epoch. The attempt does not count against `max_attempts`.
    """
    at = now(session)
    if job.state is JobState.CANCELLING:
        return _cancelled(session, job, at)
    job.rung_accuracies = {str(epoch): accuracy, **job.rung_accuracies}
    _close_attempt(session, job, "paused", at)
    if job.state is not JobState.PAUSING:
        move(session, job, JobState.PAUSING, at)
    move(session, job, JobState.PAUSED, at, epoch=epoch)
    return job.state


def failed(session: Session, job: Job, failure: Failure) -> JobState:
    """Fails the job without a retry."""
    at = now(session)
    if job.state is JobState.CANCELLING:
        return _cancelled(session, job, at)
    job.failure = asdict(failure)
    move(session, job, JobState.FAILED, at, failure=asdict(failure))
    _close_attempt(session, job, "failed", at, failure)
    return job.state


def released(session: Session, job: Job, *, reason: str, ended_at: datetime | None = None) -> JobState:
    """Ends an attempt that stopped on request: the job becomes cancelled or paused, or is queued again.

    The attempt does not count against `max_attempts`. `ended_at` is the end of the attempt, if it is not now.
    """
    at = now(session)
    match job.state:
        case JobState.CANCELLING:
            _close_attempt(session, job, "cancelled", ended_at or at)
            move(session, job, JobState.CANCELLED, at)
        case JobState.PAUSING:
            _close_attempt(session, job, "paused", ended_at or at)
            move(session, job, JobState.PAUSED, at)
        case _:
            _close_attempt(session, job, "released", ended_at or at)
            enqueue(session, job, at, timedelta(0), reason=reason)
    return job.state


def attempt_failed(
    session: Session, job: Job, failure: Failure, *, backoff: timedelta, outcome: Literal["error", "lost"] = "error"
) -> JobState:
    """Ends an attempt after an infrastructure error: queues the job again with exponential backoff, or fails it once
    `max_attempts` is reached.
    """
    at = now(session)
    match job.state:
        case JobState.CANCELLING:
            return _cancelled(session, job, at)
        case JobState.PAUSING if job.attempt < job.max_attempts:
            move(session, job, JobState.PAUSED, at, failure=asdict(failure))
        case _ if job.attempt < job.max_attempts:
            delay = min(backoff * 2 ** (job.attempt - 1), _LONGEST_BACKOFF)
            enqueue(session, job, at, delay, failure=asdict(failure))
        case _:
            job.failure = asdict(failure)
            move(session, job, JobState.FAILED, at, failure=asdict(failure))
    _close_attempt(session, job, outcome, at, failure)
    return job.state


def _cancelled(session: Session, job: Job, at: datetime) -> JobState:
    move(session, job, JobState.CANCELLED, at)
    _close_attempt(session, job, "cancelled", at)
    return job.state


def _close_attempt(session: Session, job: Job, outcome: str, at: datetime, failure: Failure | None = None) -> None:
    attempt = session.get_one(Attempt, (job.id, job.lease_epoch))
    attempt.outcome = outcome
    attempt.ended_at = at
    job.device_seconds += (at - attempt.started_at).total_seconds()
    job.attempt_started_at = None
    if failure is not None:
        attempt.code = failure.code
        attempt.message = failure.message
        attempt.origin = failure.origin
        attempt.retryable = failure.retryable


EXCEEDED = Failure("deadline_exceeded", "The job did not finish before its deadline.", origin="user", retryable=False)


def expire_deadlines(session: Session, *, limit: int = 100) -> Sequence[Job]:
    """Fails queued and paused jobs past their deadline; the heartbeat reports it to workers of running jobs.

    Any number of processes may call this concurrently.
    """
    at = now(session)
    jobs = session.scalars(
        select(Job)
        .where(UNHELD_WITH_DEADLINE, Job.deadline_at <= at)
        .order_by(Job.deadline_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for job in jobs:
        job.failure = asdict(EXCEEDED)
        move(session, job, JobState.FAILED, at, failure=asdict(EXCEEDED))
    return jobs
