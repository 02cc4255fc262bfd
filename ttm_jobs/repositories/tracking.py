"""Exports to an experiment tracker."""

from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import Job
from ttm_jobs.repositories import outbox
from ttm_jobs.states import TERMINAL

TOPIC = "mlflow"


def enqueue(session: Session, job: Job) -> None:
    """Enqueues the export of a job that ran and has ended, in the transaction that ended it."""
    if job.state in TERMINAL and job.started_at is not None:
        at = now(session)
        outbox.add(session, TOPIC, {"job_id": job.id}, created_at=at, next_attempt_at=at)
