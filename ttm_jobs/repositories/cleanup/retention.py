"""What is kept of jobs that ended long ago. The job itself, its history and its attempts stay; the objects of what is
forgotten here are left to the collector.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, CursorResult, delete, select, true
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import Artifact, Base, Checkpoint, Job, JobEvent, Metric
from ttm_jobs.repositories.run_data.artifacts import LOG

Kind = Literal["artifacts", "logs", "checkpoints", "events", "metrics"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_ROWS: Mapping[Kind, tuple[type[Base], ColumnElement[bool]]] = {
    "artifacts": (Artifact, Artifact.name != LOG),
    "logs": (Artifact, Artifact.name == LOG),
    "checkpoints": (Checkpoint, true()),
    "events": (JobEvent, JobEvent.kind.not_in(("state", "phase"))),
    "metrics": (Metric, true()),
}


def retire(session: Session, kind: Kind, *, ended_for: timedelta, jobs: int = 20) -> int:
    """Forgets these rows of at most so many jobs that ended as long ago. Returns how many rows that were; 0 once there
    are none.
    """
    table: Any
    table, which = _ROWS[kind]
    has_some = select(table.job_id).where(table.job_id == Job.id, which).correlate(Job).exists()
    # Only a job that has ended has a time at which it did.
    old = select(Job.id).where(Job.finished_at <= now(session) - ended_for, has_some).limit(jobs)
    ids = session.scalars(old).all()
    if not ids:
        return 0
    removed = session.execute(delete(table).where(table.job_id.in_(ids), which))
    assert isinstance(removed, CursorResult)
    return removed.rowcount
