"""Metrics of jobs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from ttm_jobs.models import Job, Metric


@dataclass(frozen=True)
class Point:
    """The values at one step; None for a value that was not finite. `at` is the recording time."""

    step: int
    epoch: float
    values: Mapping[str, float | None]
    at: datetime | None = None


def upsert(session: Session, job: Job, points: Sequence[Point]) -> None:
    """Writes values. A value of an existing step and name is replaced."""
    rows = [
        {
            "job_id": job.id,
            "name": name,
            "step": point.step,
            "epoch": point.epoch,
            "value": value if value is not None and isfinite(value) else None,
            "at": point.at,
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
            set_={name: statement.excluded[name] for name in ("epoch", "value", "at")},
        ),
        rows,
    )


def values_at(
    session: Session, job_id: str, *, names: Collection[str], steps: Collection[int]
) -> dict[tuple[str, int], float | None]:
    """Returns the values of some metrics by name and step, from the first to the last of `steps`."""
    if not names or not steps:
        return {}
    rows = session.execute(
        # For each name one range of the primary key.
        select(Metric.name, Metric.step, Metric.value).where(
            Metric.job_id == job_id, Metric.name.in_(sorted(names)), Metric.step.between(min(steps), max(steps))
        )
    )
    return {(row.name, row.step): row.value for row in rows}


def curve(session: Session, job_id: str, name: str, *, after_step: int = -1, limit: int = 1000) -> Sequence[Metric]:
    """Returns one metric in order of steps."""
    return session.scalars(
        select(Metric)
        .where(Metric.job_id == job_id, Metric.name == name, Metric.step > after_step)
        .order_by(Metric.step)
        .limit(limit)
    ).all()


def points(
    session: Session, job: Job, *, names: Collection[str] = (), after_step: int = -1, limit: int = 1000
) -> list[Point]:
    """Returns the points of the named metrics (default: all) in order of steps."""
    # One primary-key range per metric; a single query would scan.
    return _merge(
        metric
        for name in names or job.latest
        for metric in curve(session, job.id, name, after_step=after_step, limit=limit)
    )[:limit]


def thinned(
    session: Session, job: Job, *, names: Collection[str] = (), after_step: int = -1, max_points: int
) -> list[Point]:
    """Like `points`, with at most `max_points` steps per metric: the first of each of equal intervals, and the last.

    Seeks in the primary key, so the time depends on the number of points and not on the length of the curve.
    """
    return _merge(
        metric
        for name in names or job.latest
        for metric in _thin_curve(session, job.id, name, after_step=after_step, max_points=max_points)
    )


def _thin_curve(session: Session, job_id: str, name: str, *, after_step: int, max_points: int) -> Sequence[Any]:
    of_metric = (Metric.job_id == job_id, Metric.name == name)
    # Two queries: for both at once, a database reads the whole curve.
    first = session.scalar(select(func.min(Metric.step)).where(*of_metric, Metric.step > after_step))
    last = session.scalar(select(func.max(Metric.step)).where(*of_metric, Metric.step > after_step))
    if first is None or last is None:
        return ()
    intervals = max_points - 1
    width = max(1, -(-(last - first) // intervals))
    starts = select(literal(first).label("start")).cte("starts", recursive=True)
    starts = starts.union_all(select(starts.c.start + width).where(starts.c.start + width < last))
    nearest = (
        select(Metric.step)
        # A single lower bound: with two, SQLite may choose the wrong one for the index range.
        .where(*of_metric, Metric.step >= starts.c.start)
        .order_by(Metric.step)
        .limit(1)
        .correlate(starts)
        .scalar_subquery()
    )
    steps = {*session.scalars(select(nearest).select_from(starts)), last}
    # Columns instead of objects: creating objects takes longer than the query.
    columns = select(Metric.name, Metric.step, Metric.epoch, Metric.value, Metric.at)
    return session.execute(columns.where(*of_metric, Metric.step.in_(steps)).order_by(Metric.step)).all()


def _merge(metrics: Iterable[Any]) -> list[Point]:
    steps: dict[int, tuple[float, datetime | None]] = {}
    values: dict[int, dict[str, float | None]] = {}
    for metric in metrics:
        steps[metric.step] = metric.epoch, metric.at
        values.setdefault(metric.step, {})[metric.name] = metric.value
    return [
        Point(step, epoch, values[step], at) for step, (epoch, at) in sorted(steps.items(), key=lambda item: item[0])
    ]
