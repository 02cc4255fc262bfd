"""Creates, reads, renames, tags and deletes jobs."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from ttm_jobs.database import name_search
from ttm_jobs.database.clock import now
from ttm_jobs.database.ids import new_id
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import AmbiguousJob, JobNotDeletable, JobNotFound, TooManyTags
from ttm_jobs.models import Attempt, Job, JobEvent, JobTag, Study
from ttm_jobs.models.base import Json
from ttm_jobs.models.job import WAITING
from ttm_jobs.repositories import references, uploads
from ttm_jobs.repositories.access import quotas
from ttm_jobs.repositories.jobs.transitions import enqueue_wake_up, locked
from ttm_jobs.repositories.run_data import project_events
from ttm_jobs.repositories.webhooks import deliveries as webhook_deliveries
from ttm_jobs.settings import DEFAULT_QUEUE
from ttm_jobs.states import TERMINAL, JobState
from ttm_jobs.studies.facts import JobKind
from ttm_jobs.studies.states import ENDED
from ttm_jobs.uris import uploads_in

DEFAULT_PRIORITY = 5
MAX_TAGS = 20


class StudyPlace(NamedTuple):
    """The place of a job in a study. The job pauses itself after the epoch `pause_after`."""

    study_id: str
    kind: JobKind = JobKind.DISTILL
    candidate: int = 0
    seed: int = 0
    baseline: bool = False
    rung: int = 0
    pause_after: int | None = None


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
    device_kind: str | None = None,
    gpus: int = 1,
    device_memory_bytes: int | None = None,
    architectures: str | None = None,
    max_attempts: int = 3,
    deadline: datetime | timedelta | None = None,
    retry_of: str | None = None,
    tags: Collection[str] = (),
    resolved_references: Mapping[str, str] | None = None,
    traceparent: str | None = None,
    study: StudyPlace | None = None,
) -> Job:
    """Creates a queued job of the session's project and enqueues its wake-up message. Raises QuotaExceeded.

    `spec` is the complete spec as JSON. The other arguments are the parts of it that lists show. `resolved_references`
    maps the registry references in the spec to their versions. `deadline` is a time, or a duration from now. Jobs of a
    `study` yield to the project's other jobs of equal priority. A job in float16 needs a GPU.
    """
    project_id = project_of(session)
    quotas.check_new_job(session, project_id)
    at, needed = now(session), precisions(spec)
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
        rank=2 * priority + (study is None),
        queue=queue,
        device_kind=device_kind or ("cuda" if "float16" in needed else None),
        gpus=gpus,
        bfloat16="bfloat16" in needed,
        device_memory_bytes=device_memory_bytes,
        architectures=architectures,
        traceparent=traceparent,
        max_attempts=max_attempts,
        deadline_at=at + deadline if isinstance(deadline, timedelta) else deadline,
        retry_of=retry_of,
        attempt=0,
        lease_epoch=0,
        last_event_seq=0,
        latest={},
        resolved_reasons=None,
        student_structure=None,
        teacher_check=None,
        last_event_number=1,
        created_at=at,
        queued_at=at,
        notified_at=at,
    )
    if study is not None:
        job.study_id, job.kind, job.candidate, job.study_seed = study.study_id, study.kind, study.candidate, study.seed
        job.baseline, job.rung, job.pause_after_epoch = study.baseline, study.rung, study.pause_after
    session.add(job)
    # The event has a foreign key to the row.
    session.flush()
    _index_tags(session, job)
    uploads.record_use(session, uploads_in(json.dumps(spec)))
    created = {"state": JobState.QUEUED, "from": None}
    session.add(JobEvent(job_id=job.id, number=1, kind="state", data=created, at=at))
    project_events.publish_job(session, job, "state", created, at)
    enqueue_wake_up(session, job, at)
    webhook_deliveries.enqueue_for_job(session, job, None, at)
    return job


def get(session: Session, job_id: str) -> Job:
    """Returns a job. Raises JobNotFound."""
    job = session.get(Job, job_id)
    if job is None:
        raise JobNotFound
    return job


def find(session: Session, reference: str) -> Job:
    """Returns the job with this id, id prefix or exact name. Raises JobNotFound or AmbiguousJob."""
    indexed = name_search.contains(session, reference)
    return references.find(session, Job, reference, indexed, missing=JobNotFound, ambiguous=AmbiguousJob)


class Stamp(NamedTuple):
    """Identifies a job's current representation. `version` changes with everything but the heartbeat."""

    version: int
    heartbeat_at: datetime | None


_table = Job.__table__
_STAMP = select(_table.c.version, _table.c.heartbeat_at).where(
    _table.c.id == bindparam("job_id"), _table.c.project_id == bindparam("project_id")
)


def stamp(session: Session, job_id: str) -> Stamp:
    """Returns the stamp of a job of the session's project, for polling. Raises JobNotFound."""
    # The most frequent query filters by project itself: the session's tenancy filter costs more than the query.
    parameters = {"job_id": job_id, "project_id": project_of(session)}
    found = session.connection().execute(_STAMP, parameters).first()
    if found is None:
        raise JobNotFound
    return Stamp(found.version, found.heartbeat_at)


def attempts(session: Session, job_id: str) -> Sequence[Attempt]:
    """Returns the attempts of a job, oldest first."""
    return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.lease_epoch)).all()


def _index_tags(session: Session, job: Job) -> None:
    session.add_all(
        JobTag(job_id=job.id, tag=tag, project_id=job.project_id, created_at=job.created_at) for tag in job.tags
    )


def rename(session: Session, job_id: str, *, name: str | None) -> Job:
    """Renames a job in any state. Raises JobNotFound."""
    job = locked(session, job_id)
    job.name = name
    return job


def tag(session: Session, job_id: str, tags: Collection[str]) -> Job:
    """Replaces the tags of a job in any state. Raises JobNotFound."""
    job = locked(session, job_id)
    job.tags = sorted(set(tags))
    session.execute(delete(JobTag).where(JobTag.job_id == job.id))
    _index_tags(session, job)
    return job


def retag(session: Session, job_id: str, *, add: Collection[str], remove: Collection[str]) -> Job:
    """Adds and removes tags of a job in any state. Raises JobNotFound and TooManyTags."""
    job = locked(session, job_id)
    tags = {*job.tags} - {*remove} | {*add}
    if len(tags) > MAX_TAGS:
        raise TooManyTags(f"A job has at most {MAX_TAGS} tags.")
    return job if tags == {*job.tags} else tag(session, job_id, tags)


def remove(session: Session, job_id: str) -> None:
    """Deletes a job that has ended and its rows; the collector deletes its objects later. Raises JobNotFound and
    JobNotDeletable.
    """
    job = locked(session, job_id)
    if job.state not in TERMINAL:
        raise JobNotDeletable
    if job.study_id is not None and session.get_one(Study, job.study_id).state not in ENDED:
        raise JobNotDeletable("The job's study has not ended and needs its result.")
    # Their representation no longer refers to this job.
    session.execute(update(Job).where(Job.retry_of == job.id).values(version=Job.version + 1))
    # Foreign keys cascade.
    session.execute(delete(Job).where(Job.id == job.id))


def precisions(spec: Json) -> set[str | None]:
    """The precisions of student and teacher in a job's spec. Other values than `auto` must be met by the device."""
    training = spec.get("training") or {}
    return {training.get("precision"), training.get("teacher_precision")}


def renotify_queued(session: Session, *, after: timedelta, limit: int, queue: str = DEFAULT_QUEUE) -> Sequence[Job]:
    """Enqueues another wake-up message for queued jobs whose last one was due `after` ago and may be lost.

    The message only wakes a worker; scheduling decides which job it claims.
    """
    at = now(session)
    jobs = session.scalars(
        select(Job)
        .where(
            WAITING,
            Job.queue == queue,
            Job.notified_at <= at - after,
            Job.project_id.not_in(quotas.projects_at_limit(session)),
        )
        .order_by(Job.notified_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for job in jobs:
        job.notified_at = at
        enqueue_wake_up(session, job, at)
    return jobs
