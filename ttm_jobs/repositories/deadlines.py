"""Deadlines, on the database's clock: a job that has not ended by its own fails, whether a worker holds it or not."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from ttm_jobs.clock import now
from ttm_jobs.models import Job
from ttm_jobs.models.job import UNHELD_WITH_DEADLINE
from ttm_jobs.repositories.endings import Failure
from ttm_jobs.repositories.transitions import move
from ttm_jobs.states import JobState

EXCEEDED = Failure("deadline_exceeded", "The job had not ended at its deadline.", origin="user", retryable=False)


def expire(session: Session, *, limit: int = 100) -> Sequence[Job]:
    """Fails the jobs that wait or rest past their deadline; who holds one is told by its heartbeat. Any number of
    processes may do this at once.
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
