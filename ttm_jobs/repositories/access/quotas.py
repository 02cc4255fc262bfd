"""Quotas of projects, checked in the transaction that uses them. A check of a limit that is set locks the
project's row.
"""

from collections.abc import Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from ttm_jobs.database.engine import DEFAULT_LIMITS
from ttm_jobs.errors import QuotaExceeded
from ttm_jobs.models import Job, Project
from ttm_jobs.models.project import UNLIMITED
from ttm_jobs.repositories.access import projects
from ttm_jobs.settings import Limits
from ttm_jobs.states import HELD

_Number = TypeVar("_Number", int, float)


def limits_of(session: Session, project: Project) -> Limits:
    """The project's own limits; where it has none, the defaults of the service."""
    return own_or_default(project, _defaults(session))


def own_or_default(project: Project, defaults: Limits) -> Limits:
    """The limits of the project with these defaults."""

    return Limits(
        running_jobs=_either(project.max_running_jobs, defaults.running_jobs),
        queued_jobs=_either(project.max_queued_jobs, defaults.queued_jobs),
        stored_bytes=_either(project.max_stored_bytes, defaults.stored_bytes),
        device_hours=_either(project.max_device_hours, defaults.device_hours),
    )


def _either(own: _Number | None, default: _Number | None) -> _Number | None:
    if own is None:
        return default
    return None if own == UNLIMITED else own


def check_new_job(session: Session, project_id: str) -> None:
    """Raises QuotaExceeded if the project may not queue another job. Exact under concurrency."""
    limits = _locked_limits(session, project_id, "queued_jobs", "stored_bytes", "device_hours")
    if (most := limits.queued_jobs) is not None and projects.queued_jobs(session, project_id, at_most=most) >= most:
        raise QuotaExceeded(f"The project is at its limit of {most} queued jobs.")
    if limits.device_hours is not None and projects.device_hours(session, project_id) >= limits.device_hours:
        raise QuotaExceeded(f"The project has used its {limits.device_hours:g} device hours.")
    _check_bytes(session, project_id, limits.stored_bytes, 0)


def check_bytes(session: Session, project_id: str, more: int) -> None:
    """Raises QuotaExceeded if the project may not store `more` additional bytes."""
    limits = _locked_limits(session, project_id, "stored_bytes")
    _check_bytes(session, project_id, limits.stored_bytes, more)


def _check_bytes(session: Session, project_id: str, limit: int | None, more: int) -> None:
    if limit is not None and projects.stored_bytes(session, project_id) + more > limit:
        raise QuotaExceeded(f"The project's storage limit is {limit} bytes.")


def may_run(session: Session, project_id: str) -> bool:
    """Whether the project may run another job."""
    limit = _locked_limits(session, project_id, "running_jobs").running_jobs
    return limit is None or projects.running_jobs(session, project_id) < limit


def may_run_another(session: Session, running: ColumnElement[int]) -> ColumnElement[bool]:
    """The condition that a project with this number of running jobs may run another one, for a query of projects."""
    limit = _running_limit(session)
    return or_(limit == UNLIMITED, running < limit)


def projects_at_limit(session: Session) -> Sequence[str]:
    """The projects at their limit of running jobs."""
    running = (
        select(func.count())
        .select_from(Job)
        .where(Job.project_id == Project.id, Job.state.in_(HELD))
        .correlate(Project)
        .scalar_subquery()
    )
    limit = _running_limit(session)
    return session.scalars(select(Project.id).where(limit != UNLIMITED, running >= limit)).all()


def _running_limit(session: Session) -> ColumnElement[int]:
    default = _defaults(session).running_jobs
    return func.coalesce(Project.max_running_jobs, UNLIMITED if default is None else default)


def _locked_limits(session: Session, project_id: str, *names: str) -> Limits:
    """The project's limits, with its row locked if one of the named ones is set, so that concurrent checks are
    serialized. A project without a row has none.
    """
    defaults = _defaults(session)
    if all(getattr(defaults, name) is None for name in names):
        project = session.get(Project, project_id)
        if project is None:
            return Limits()
        limits = limits_of(session, project)
        if all(getattr(limits, name) is None for name in names):
            return limits
    locked = session.get(Project, project_id, with_for_update=True, populate_existing=True)
    return Limits() if locked is None else limits_of(session, locked)


def _defaults(session: Session) -> Limits:
    return cast(Limits, cast(Any, session.get_bind()).get_execution_options().get(DEFAULT_LIMITS, Limits()))
