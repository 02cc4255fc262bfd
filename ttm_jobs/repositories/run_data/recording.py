"""Records the events of a run. Each function takes the job from `leases.fence`, so only the lease's holder writes."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ttm_jobs.models import Attempt, Checkpoint, Job, JobEvent
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.jobs.crud import precisions
from ttm_jobs.repositories.jobs.transitions import append

_MAX_CHECKPOINTS = 2


def phase(session: Session, job: Job, name: str, at: datetime) -> None:
    """Records a change of phase. Reporting the current phase again has no effect."""
    if job.phase == name:
        return
    job.phase = name
    append(session, job, "phase", {"phase": name}, at)


def resolved(session: Session, job: Job, resolved_spec: Json, data: Json, at: datetime) -> None:
    """Stores the resolved spec, which later attempts run, its reasons and the student's structure. `data` is the
    event.
    """
    job.resolved_spec = resolved_spec
    # Later attempts keep the precision that this one chose, so they need a device for it.
    job.bfloat16 = "bfloat16" in precisions(resolved_spec)
    # A later attempt starts from the resolved spec, so it decides little or nothing.
    job.resolved_reasons = {**(job.resolved_reasons or {}), **data.get("reasons", {})}
    job.student_structure = data.get("student_structure")
    attempt = _attempt(session, job)
    attempt.from_step = attempt.to_step = data.get("resumed_from_step") or 0
    append(session, job, "resolved", data, at)


def teacher_measured(session: Session, job: Job, data: Json, at: datetime) -> None:
    """Stores the check of the teacher. `data` is the event."""
    job.teacher_check = data
    job.latest = {**job.latest, "teacher/top1": data["top1"], "teacher/loss": data["loss"]}
    append(session, job, "teacher_measured", data, at)


def progress(session: Session, job: Job, data: Json, at: datetime) -> None:
    """Records progress and replaces the previous progress event."""
    if job.progress_event is not None:
        session.execute(delete(JobEvent).where(JobEvent.job_id == job.id, JobEvent.number == job.progress_event))
    job.progress = data
    _attempt(session, job).to_step = data["step"]
    job.progress_event = append(session, job, "progress", data, at).number


def metrics(session: Session, job: Job, data: Json, at: datetime) -> None:
    """Records the event, which identifies the point; `metrics.upsert` writes the values of many points at once.

    Non-finite values are strings in `data`. The event keeps them, since the `metrics` table stores them as NULL.
    """
    values = data["values"]
    job.latest = {**job.latest, **values}
    point: Json = {"step": data["step"], "epoch": data["epoch"], "names": sorted(values)}
    if non_finite := {name: value for name, value in values.items() if isinstance(value, str)}:
        point["non_finite"] = non_finite
    append(session, job, "metrics", point, at)


def log(session: Session, job: Job, data: Json, at: datetime) -> None:
    append(session, job, "log", data, at)


def checkpoint(session: Session, job: Job, saved: Checkpoint, data: Json, at: datetime) -> list[str]:
    """Records a checkpoint with a complete object, and deletes all but the last two and the best.

    Returns the keys of the unreferenced objects, to be deleted after the commit.
    """
    # Includes checkpoints added in this transaction.
    session.flush()
    known = {row.step: row for row in checkpoints(session, job.id)}
    obsolete = [row.key for row in (known.pop(saved.step, None),) if row is not None and row.key != saved.key]
    known[saved.step] = session.merge(saved)
    _attempt(session, job).to_step = saved.step
    append(session, job, "checkpoint", data, at)
    steps = sorted(known)
    best = [step for step in steps if known[step].best][-1:]
    for step in set(steps) - set(steps[-_MAX_CHECKPOINTS:]) - set(best):
        obsolete.append(known[step].key)
        session.delete(known[step])
    return obsolete


def checkpoints(session: Session, job_id: str) -> Sequence[Checkpoint]:
    """Returns the checkpoints, newest first."""
    return session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step.desc())).all()


def _attempt(session: Session, job: Job) -> Attempt:
    return session.get_one(Attempt, (job.id, job.lease_epoch))
