"""Create, read, list and delete studies; cancel, pause and resume requests."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, select, tuple_
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.database.ids import new_id
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import (
    AmbiguousStudy,
    StudyNotCancellable,
    StudyNotDeletable,
    StudyNotFound,
    StudyNotPausable,
    StudyNotResumable,
)
from ttm_jobs.models import Job, Study, StudyCandidate, StudyEvent
from ttm_jobs.models.base import Json
from ttm_jobs.repositories import references
from ttm_jobs.repositories.access import quotas
from ttm_jobs.repositories.jobs import control
from ttm_jobs.repositories.jobs.transitions import enqueue_study
from ttm_jobs.repositories.run_data import project_events
from ttm_jobs.repositories.studies import device_latencies
from ttm_jobs.repositories.webhooks import deliveries as webhook_deliveries
from ttm_jobs.states import TERMINAL, JobState
from ttm_jobs.studies.states import ENDED, StudyState, check_study_transition


@dataclass(frozen=True)
class NewCandidate:
    """A candidate to create. Candidates with equal `key` have equal students."""

    key: str
    label: str
    student: Json
    values: Json


@dataclass(frozen=True)
class JobOptions:
    """Scheduling options of a study's jobs."""

    priority: int
    queue: str
    max_attempts: int
    device_kind: str | None = None
    device_memory_bytes: int | None = None
    architectures: str | None = None


def create(
    session: Session,
    *,
    spec: Json,
    plan: Json,
    candidates: Sequence[NewCandidate],
    options: JobOptions,
    name: str | None = None,
    owner: str | None = None,
    tags: Collection[str] = (),
    resolved_references: Json | None = None,
    deadline: datetime | timedelta | None = None,
) -> Study:
    """Creates a running study of the session's project. A dispatcher creates its jobs. Raises QuotaExceeded."""
    project_id = project_of(session)
    quotas.check_new_job(session, project_id)
    at = now(session)
    study = Study(
        id=new_id(),
        project_id=project_id,
        name=name,
        tags=sorted(set(tags)),
        owner=owner,
        state=StudyState.RUNNING,
        stage="screen",
        spec=spec,
        plan=plan,
        decisions={},
        resolved_references=resolved_references or {},
        priority=options.priority,
        queue=options.queue,
        max_attempts=options.max_attempts,
        device_kind=options.device_kind,
        device_memory_bytes=options.device_memory_bytes,
        architectures=options.architectures,
        deadline_at=at + deadline if isinstance(deadline, timedelta) else deadline,
        created_at=at,
        last_event_number=0,
    )
    session.add(study)
    session.flush()
    session.add_all(
        StudyCandidate(
            study_id=study.id,
            number=number,
            key=each.key,
            label=each.label,
            student=each.student,
            search_values=each.values,
        )
        for number, each in enumerate(candidates, start=1)
    )
    append(session, study, "state", {"state": study.state, "from": None}, at)
    webhook_deliveries.enqueue_for_study(session, study, None, at)
    enqueue_study(session, study.id, at)
    if study.deadline_at is not None:
        enqueue_study(session, study.id, at, max(study.deadline_at - at, timedelta(0)))
    return study


def get(session: Session, study_id: str) -> Study:
    """Returns a study. Raises StudyNotFound."""
    study = session.get(Study, study_id)
    if study is None:
        raise StudyNotFound
    return study


def find(session: Session, reference: str) -> Study:
    """Returns the study with this id, id prefix or exact name. Raises StudyNotFound or AmbiguousStudy."""
    return references.find(session, Study, reference, missing=StudyNotFound, ambiguous=AmbiguousStudy)


def locked(session: Session, study_id: str) -> Study:
    """Returns the study with its row locked until the transaction ends. Raises StudyNotFound."""
    study = session.get(Study, study_id, with_for_update=True, populate_existing=True)
    if study is None:
        raise StudyNotFound
    return study


def page(
    session: Session,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
    states: Sequence[StudyState] = (),
) -> Sequence[Study]:
    """Returns studies of the session's project, newest first, in any of `states` if there are any."""
    query = select(Study).where(Study.project_id == project_of(session))
    if states:
        query = query.where(Study.state.in_(states))
    if before is not None:
        query = query.where(tuple_(Study.created_at, Study.id) < before)
    return session.scalars(query.order_by(Study.created_at.desc(), Study.id.desc()).limit(limit)).all()


def named(session: Session, text: str, *, limit: int) -> Sequence[Study]:
    """Returns the newest studies of the session's project whose name contains `text`, in any case."""
    query = select(Study).where(Study.project_id == project_of(session), Study.name.icontains(text, autoescape=True))
    return session.scalars(query.order_by(Study.created_at.desc(), Study.id.desc()).limit(limit)).all()


def names(session: Session, study_ids: Collection[str]) -> dict[str, str | None]:
    """Returns the names of studies by id."""
    return dict(session.execute(select(Study.id, Study.name).where(Study.id.in_(study_ids))).all())


def jobs_of(session: Session, study_id: str) -> Sequence[Job]:
    """Returns the jobs of a study in the order of their creation."""
    return session.scalars(select(Job).where(Job.study_id == study_id).order_by(Job.created_at, Job.id)).all()


def locked_jobs(session: Session, study_id: str, *conditions: ColumnElement[bool]) -> Sequence[Job]:
    """Returns the jobs of a study that meet conditions, with their rows locked until the transaction ends.

    Without the locks, a worker could change a job between its load and its change.
    """
    query = select(Job).where(Job.study_id == study_id, *conditions).order_by(Job.created_at, Job.id)
    return session.scalars(query.with_for_update().execution_options(populate_existing=True)).all()


def move(session: Session, study: Study, to: StudyState, at: datetime, **why: Any) -> None:
    """Changes the state of a locked study. Raises InvalidTransition for a transition that is not allowed."""
    check_study_transition(study.state, to)
    before, study.state = study.state, to
    if to in ENDED:
        study.finished_at = at
        study.blocked_reason = None
    append(session, study, "state", {"state": to, "from": before, **why}, at)
    webhook_deliveries.enqueue_for_study(session, study, before, at)


def append(session: Session, study: Study, kind: str, data: Json, at: datetime) -> None:
    """Appends an event to a locked study's stream."""
    study.last_event_number += 1
    session.add(StudyEvent(study_id=study.id, number=study.last_event_number, kind=kind, data=data, at=at))
    project_events.publish_study(session, study, kind, data, at)


def request_cancel(session: Session, study_id: str) -> Study:
    """Cancels a study and its jobs. Idempotent."""
    study = locked(session, study_id)
    if study.state is StudyState.CANCELLED:
        return study
    if study.state in ENDED:
        raise StudyNotCancellable
    move(session, study, StudyState.CANCELLED, now(session))
    cancel_work(session, study)
    return study


def cancel_work(session: Session, study: Study) -> None:
    """Cancels the jobs of a study that have not ended, and what its device has not measured yet."""
    if study.plan["device"] is not None:
        device_latencies.withdraw(session, study)
    for job in locked_jobs(session, study.id, Job.state.not_in(TERMINAL)):
        control.request_cancel(session, job.id)


def request_pause(session: Session, study_id: str) -> Study:
    """Pauses a study and its jobs. Idempotent."""
    study = locked(session, study_id)
    if study.state is StudyState.PAUSED:
        return study
    if study.state is not StudyState.RUNNING:
        raise StudyNotPausable
    move(session, study, StudyState.PAUSED, now(session))
    for job in locked_jobs(session, study.id, Job.state.in_((JobState.QUEUED, JobState.RUNNING))):
        control.request_pause(session, job.id)
    return study


def resume(session: Session, study_id: str) -> Study:
    """Continues a paused study; a dispatcher resumes its jobs."""
    study = locked(session, study_id)
    if study.state is not StudyState.PAUSED:
        raise StudyNotResumable
    at = now(session)
    move(session, study, StudyState.RUNNING, at)
    enqueue_study(session, study.id, at)
    return study


def remove(session: Session, study_id: str) -> None:
    """Deletes a study that has ended, with its jobs; the collector deletes their objects later."""
    study = locked(session, study_id)
    if study.state not in ENDED or any(job.state not in TERMINAL for job in jobs_of(session, study.id)):
        raise StudyNotDeletable
    # Foreign keys cascade.
    session.execute(delete(Study).where(Study.id == study.id))
