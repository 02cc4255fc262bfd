"""Retention of the data of old jobs. The job, its history and its attempts stay; the collector deletes the objects."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, CursorResult, delete, select, true
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import Artifact, Base, Checkpoint, Job, JobEvent, Metric, Study
from ttm_jobs.repositories.run_data.artifacts import LOG
from ttm_jobs.studies.states import ENDED

Kind = Literal["artifacts", "logs", "checkpoints", "events", "metrics"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_ROWS: Mapping[Kind, tuple[type[Base], ColumnElement[bool]]] = {
    "artifacts": (Artifact, Artifact.name != LOG),
    "logs": (Artifact, Artifact.name == LOG),
    "checkpoints": (Checkpoint, true()),
    "events": (JobEvent, JobEvent.kind.not_in(("state", "phase"))),
    "metrics": (Metric, true()),
}


def expire(session: Session, kind: Kind, *, ended_for: timedelta, jobs: int = 20) -> int:
    """Deletes these rows of at most `jobs` jobs that ended `ended_for` ago. Returns the number of rows; 0 when done.

    Studies that have not ended keep the artifacts of their jobs: devices measure them, and the result names them.
    """
    table: Any
    table, which = _ROWS[kind]
    has_some = select(table.job_id).where(table.job_id == Job.id, which).correlate(Job).exists()
    # Only finished jobs have this timestamp.
    old = select(Job.id).where(Job.finished_at <= now(session) - ended_for, has_some).limit(jobs)
    if kind == "artifacts":
        needed = select(Study.id).where(Study.id == Job.study_id, Study.state.not_in(ENDED)).correlate(Job).exists()
        old = old.where(~needed)
    ids = session.scalars(old).all()
    if not ids:
        return 0
    removed = session.execute(delete(table).where(table.job_id.in_(ids), which))
    assert isinstance(removed, CursorResult)
    return removed.rowcount
