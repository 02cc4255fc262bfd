"""Lists of jobs in orders other than creation time, for the dashboard.

No index supports them: a page reads all jobs that pass the filters, and pages are numbered.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Float, case, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs.listing import JobFilters, JobPage, matching
from ttm_jobs.states import JobState


def _accuracy(model: str) -> ColumnElement[float]:
    """Top-1 accuracy: test if available, else validation; the latest value for a running job."""
    return func.coalesce(
        Job.result[(f"{model}_test", "top1")].as_float(),
        Job.result[(f"{model}_validation", "top1")].as_float(),
        Job.latest["validation/top1" if model == "student" else "teacher/top1"].as_float(),
    )


class _elapsed(FunctionElement[float]):  # noqa: N801 - written as SQL functions are
    """Seconds between two times; the second defaults to now."""

    name = "elapsed"
    inherit_cache = True
    type = Float()


@compiles(_elapsed, "postgresql")
def _elapsed_on_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    return f"extract(epoch FROM coalesce({end}, now()) - {start})"


@compiles(_elapsed, "sqlite")
def _elapsed_on_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    start, end = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(julianday(coalesce({end}, 'now')) - julianday({start})) * 86400.0"


_STEPS = func.nullif(Job.progress["total_steps"].as_float(), 0)
# Sort keys by name of the order.
ORDERS: Mapping[str, tuple[Any, ...]] = {
    "name": (Job.name,),
    "owner": (Job.owner,),
    "state": (Job.state,),
    "models": (Job.student,),
    "dataset": (Job.dataset,),
    "method": (Job.method,),
    "progress": (Job.progress["step"].as_float() / _STEPS,),
    "top1": (_accuracy("student"),),
    "change": (_accuracy("student") - _accuracy("teacher"),),
    "attempt": (Job.attempt,),
    "waited": (_elapsed(Job.created_at, func.coalesce(Job.started_at, Job.finished_at)),),
    "ran": (
        case(
            (
                Job.started_at.is_not(None),
                Job.device_seconds + func.coalesce(_elapsed(Job.attempt_started_at, Job.finished_at), 0.0),
            )
        ),
    ),
    "submitted": (Job.created_at,),
}


def page(
    session: Session, order: str, *, descending: bool, limit: int, number: int = 0, filters: JobFilters | None = None
) -> JobPage:
    """Returns page `number` (from 0) in the order ORDERS[order]. Missing values come last in both directions; ties are
    ordered newest first.
    """
    filters = filters or JobFilters()
    query, created_at, job_id = matching(session, filters)
    if filters.states:
        query = query.where(Job.state.in_([JobState(state) for state in filters.states]))
    keys = [(key.desc() if descending else key.asc()).nulls_last() for key in ORDERS[order]]
    found = session.scalars(
        query.with_only_columns(job_id)
        .order_by(*keys, created_at.desc(), job_id.desc())
        .limit(limit + 1)
        .offset(number * limit)
    ).all()
    by_id = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(found[:limit])))}
    return JobPage([by_id[each] for each in found[:limit] if each in by_id], has_more=len(found) > limit)
