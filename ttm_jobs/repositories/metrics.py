"""Metrics: the curves of a job."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from ttm_jobs.models import Job, Metric


@dataclass(frozen=True)
class Point:
    """The numbers told at one step; None for one that was not finite."""

    step: int
    epoch: float
    values: Mapping[str, float | None]


def upsert(session: Session, job: Job, points: Sequence[Point]) -> None:
    """Writes numbers told at steps; a step told again replaces what was told before."""
    rows = [
        {
            "job_id": job.id,
            "name": name,
            "step": point.step,
            "epoch": point.epoch,
            "value": value if value is not None and isfinite(value) else None,
        }
        for point in points
        for name, value in point.values.items()
    ]
    if not rows:
        return
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
    statement = insert(Metric)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["job_id", "name", "step"],
            set_={"epoch": statement.excluded.epoch, "value": statement.excluded.value},
        ),
        rows,
    )


def curve(session: Session, job_id: str, name: str, *, after_step: int = -1, limit: int = 1000) -> Sequence[Metric]:
    """One metric in order of steps."""
    return session.scalars(
        select(Metric)
        .where(Metric.job_id == job_id, Metric.name == name, Metric.step > after_step)
        .order_by(Metric.step)
        .limit(limit)
    ).all()


def points(
    session: Session, job: Job, *, names: Collection[str] = (), after_step: int = -1, limit: int = 1000
) -> list[Point]:
    """The named metrics (all, if none is named) side by side, in order of steps."""
    epochs: dict[int, float] = {}
    values: dict[int, dict[str, float | None]] = {}
    # Each curve is a range of the primary key; together they would be a scan.
    for name in names or job.latest:
        for metric in curve(session, job.id, name, after_step=after_step, limit=limit):
            epochs[metric.step] = metric.epoch
            values.setdefault(metric.step, {})[name] = metric.value
    return [Point(step, epochs[step], values[step]) for step in sorted(values)[:limit]]
