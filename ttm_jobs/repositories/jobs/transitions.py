"""State transitions of a job: under its row lock, checked against the table of transitions, with an event."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from ttm_jobs.errors import JobNotFound
from ttm_jobs.models import Job, JobEvent
from ttm_jobs.repositories import outbox
from ttm_jobs.repositories.run_data import project_events
from ttm_jobs.repositories.webhooks import deliveries as webhook_deliveries
from ttm_jobs.states import HELD, TERMINAL, JobState, check_transition

WAKE_UP = "wake_up"
ADVANCE_STUDY = "study"
# Kinds of events that are also in the project's stream: few per job.
_OF_THE_PROJECT = ("state", "phase")
# States of a job after which its study may continue.
_ADVANCES = TERMINAL | {JobState.PAUSED}


def locked(session: Session, job_id: str) -> Job:
    """Returns the job with its row locked until the transaction ends. Raises JobNotFound.

    On SQLite, a writing transaction is exclusive from its start.
    """
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None:
        raise JobNotFound
    return job


def append(session: Session, job: Job, kind: str, data: dict[str, Any], at: datetime) -> JobEvent:
    """Appends an event to a locked job's stream."""
    job.last_event_number += 1
    event = JobEvent(job_id=job.id, number=job.last_event_number, kind=kind, data=data, at=at)
    session.add(event)
    if kind in _OF_THE_PROJECT:
        project_events.publish_job(session, job, kind, data, at)
    return event


def move(session: Session, job: Job, to: JobState, at: datetime, **why: Any) -> None:
    """Changes the state of a locked job and its timestamps. Raises InvalidTransition for a transition that is not
    allowed.

    `why` is added to the event: for example the worker or the failure.
    """
    check_transition(job.state, to)
    before, job.state = job.state, to
    if to not in HELD:
        job.phase = job.lease_owner = job.lease_until = job.heartbeat_at = None
    if to in TERMINAL:
        job.finished_at = at
    append(session, job, "state", {"state": to, "from": before, **why}, at)
    webhook_deliveries.enqueue_for_job(session, job, before, at)
    if job.study_id is not None and to in _ADVANCES:
        enqueue_study(session, job.study_id, at)


def enqueue_study(session: Session, study_id: str, at: datetime, delay: timedelta = timedelta(0)) -> None:
    """Enqueues the message that lets a dispatcher decide the next actions of a study."""
    outbox.add(session, ADVANCE_STUDY, {"study_id": study_id}, created_at=at, next_attempt_at=at + delay)


def enqueue(session: Session, job: Job, at: datetime, delay: timedelta, **why: Any) -> None:
    """Queues a locked job again and enqueues its wake-up message, due after `delay`."""
    move(session, job, JobState.QUEUED, at, **why)
    job.queued_at = at
    job.not_before = job.notified_at = at + delay
    enqueue_wake_up(session, job, at, delay)


def enqueue_wake_up(session: Session, job: Job, at: datetime, delay: timedelta = timedelta(0)) -> None:
    payload = {"job_id": job.id, "priority": job.priority, "queue": job.queue}
    outbox.add(session, WAKE_UP, payload, created_at=at, next_attempt_at=at + delay)
