"""Reads of event streams."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from ttm_jobs.models import Job, JobEvent, ProjectEvent, StudyEvent
from ttm_jobs.models.base import Json
from ttm_jobs.models.job_event import HISTORY
from ttm_jobs.repositories.run_data import metrics


@dataclass(frozen=True)
class StreamEvent:
    """An event as readers receive it. `metrics` events have their values, which the row itself does not store."""

    number: int
    kind: str
    data: Json
    at: datetime


def rows_after(
    session: Session,
    event: type[JobEvent] | type[StudyEvent] | type[ProjectEvent],
    stream: ColumnElement[bool],
    number: int,
    limit: int,
) -> list[StreamEvent]:
    """Returns the rows of a table of events after a number in order. `stream` selects the stream."""
    rows = session.execute(
        select(event.number, event.kind, event.data, event.at)
        .where(stream, event.number > number)
        .order_by(event.number)
        .limit(limit)
    )
    return [StreamEvent(row.number, row.kind, row.data, row.at) for row in rows]


def after(session: Session, job_id: str, number: int, *, limit: int = 500) -> Sequence[StreamEvent]:
    """Returns the events after a number in order; 0 returns all.

    Values of `metrics` events are read from the `metrics` table, with one query for the page. Values that retention has
    deleted are omitted.
    """
    rows = rows_after(session, JobEvent, JobEvent.job_id == job_id, number, limit)
    points = [row.data for row in rows if row.kind == "metrics"]
    values = metrics.values_at(
        session,
        job_id,
        names={name for point in points for name in point["names"]},
        steps=[point["step"] for point in points],
    )
    return [replace(row, data=_with_values(row.data, values)) if row.kind == "metrics" else row for row in rows]


def _with_values(point: Json, values: dict[tuple[str, int], float | None]) -> Json:
    step, non_finite = point["step"], point.get("non_finite", {})
    found = {name: values[name, step] for name in point["names"] if (name, step) in values}
    return {
        "step": step,
        "epoch": point["epoch"],
        "values": found | {k: v for k, v in non_finite.items() if k in found},
    }


def history(session: Session, job_id: str) -> Sequence[JobEvent]:
    """Returns the changes of state and phase in order."""
    return session.scalars(select(JobEvent).where(JobEvent.job_id == job_id, HISTORY).order_by(JobEvent.number)).all()


def resolved(session: Session, job_id: str) -> Json | None:
    """Returns the data of the job's `resolved` event; None if it has none yet."""
    # It is near the beginning of the stream, so a scan in key order finds it quickly.
    query = select(JobEvent.data).where(JobEvent.job_id == job_id, JobEvent.kind == "resolved")
    return session.scalar(query.order_by(JobEvent.number).limit(1))


def last_event_numbers(session: Session, job_ids: Collection[str]) -> dict[str, int]:
    """The number of the newest event of each job. Omits jobs that do not exist."""
    rows = session.execute(select(Job.id, Job.last_event_number).where(Job.id.in_(job_ids)))
    return {row.id: row.last_event_number for row in rows}


def job_versions(session: Session, job_ids: Collection[str]) -> dict[str, int]:
    """The version of each job. Omits jobs that do not exist."""
    rows = session.execute(select(Job.id, Job.version).where(Job.id.in_(job_ids)))
    return {row.id: row.version for row in rows}
