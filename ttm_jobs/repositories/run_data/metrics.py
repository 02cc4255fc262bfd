"""Metrics: the curves of a job."""

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
    """The numbers told at one step; None for one that was not finite. `at` is when they were written."""

    step: int
    epoch: float
    values: Mapping[str, float | None]
    at: datetime | None = None


def upsert(session: Session, job: Job, points: Sequence[Point]) -> None:
    """Writes numbers told at steps; a step told again replaces what was told before."""
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
    # Each curve is a range of the primary key; together they would be a scan.
    return _beside(
        metric
        for name in names or job.latest
        for metric in curve(session, job.id, name, after_step=after_step, limit=limit)
    )[:limit]


def thinned(
    session: Session, job: Job, *, names: Collection[str] = (), after_step: int = -1, max_points: int
) -> list[Point]:
    """The same, but of each curve's steps at most `max_points`: the first one of each of as many equal stretches, and
    the last. They are sought in the primary key, so that the time is that of the points and not of the curve.
    """
    return _beside(
        metric
        for name in names or job.latest
        for metric in _thin_curve(session, job.id, name, after_step=after_step, max_points=max_points)
    )


def _thin_curve(session: Session, job_id: str, name: str, *, after_step: int, max_points: int) -> Sequence[Any]:
    mine = (Metric.job_id == job_id, Metric.name == name)
    # Two questions: a database that is asked both at once reads the whole curve.
    first = session.scalar(select(func.min(Metric.step)).where(*mine, Metric.step > after_step))
    last = session.scalar(select(func.max(Metric.step)).where(*mine, Metric.step > after_step))
    if first is None or last is None:
        return ()
    stretches = max_points - 1
    width = max(1, -(-(last - first) // stretches))
    starts = select(literal(first).label("start")).cte("starts", recursive=True)
    starts = starts.union_all(select(starts.c.start + width).where(starts.c.start + width < last))
    nearest = (
        select(Metric.step)
        # One lower bound alone: beside another, SQLite may take the wrong one for the range that it reads.
        .where(*mine, Metric.step >= starts.c.start)
        .order_by(Metric.step)
        .limit(1)
        .correlate(starts)
        .scalar_subquery()
    )
    steps = {*session.scalars(select(nearest).select_from(starts)), last}
    # Columns alone: to make objects of them would take longer than to find them.
    columns = select(Metric.name, Metric.step, Metric.epoch, Metric.value, Metric.at)
    return session.execute(columns.where(*mine, Metric.step.in_(steps)).order_by(Metric.step)).all()


def _beside(metrics: Iterable[Any]) -> list[Point]:
    places: dict[int, tuple[float, datetime | None]] = {}
    values: dict[int, dict[str, float | None]] = {}
    for metric in metrics:
        places[metric.step] = metric.epoch, metric.at
        values.setdefault(metric.step, {})[metric.name] = metric.value
    return [
        Point(step, epoch, values[step], at) for step, (epoch, at) in sorted(places.items(), key=lambda place: place[0])
    ]
