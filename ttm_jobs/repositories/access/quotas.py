"""Quotas of projects, checked in the transaction that uses them. A project without limits costs one read."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ttm_jobs.errors import QuotaExceeded
from ttm_jobs.models import Job, Project
from ttm_jobs.repositories.access import projects
from ttm_jobs.states import HELD


def check_new_job(session: Session, project_id: str) -> None:
    """Raises QuotaExceeded if the project may not queue another job. Exact under concurrency."""
    project = _locked(session, project_id)
    if project is None:
        return
    if project.max_queued_jobs is not None and (projects.queued_jobs(session, project_id) >= project.max_queued_jobs):
        raise QuotaExceeded(f"The project is at its limit of {project.max_queued_jobs} queued jobs.")
    if project.max_device_hours is not None and (
        projects.device_hours(session, project_id) >= project.max_device_hours
    ):
        raise QuotaExceeded(f"The project has used its {project.max_device_hours:g} device hours.")
    check_bytes(session, project_id, 0)


def check_bytes(session: Session, project_id: str, more: int) -> None:
    """Raises QuotaExceeded if the project may not store `more` additional bytes."""
    project = _locked(session, project_id)
    if project is None or project.max_stored_bytes is None:
        return
    if projects.stored_bytes(session, project_id) + more > project.max_stored_bytes:
        raise QuotaExceeded(f"The project's storage limit is {project.max_stored_bytes} bytes.")


def may_run(session: Session, project_id: str) -> bool:
    """Whether the project may run another job."""
    project = _locked(session, project_id)
    if project is None or project.max_running_jobs is None:
        return True
    return projects.running_jobs(session, project_id) < project.max_running_jobs


def projects_at_limit(session: Session) -> Sequence[str]:
    """The projects at their limit of running jobs."""
    running = (
        select(func.count())
        .select_from(Job)
        .where(Job.project_id == Project.id, Job.state.in_(HELD))
        .correlate(Project)
        .scalar_subquery()
    )
    return session.scalars(
        select(Project.id).where(Project.max_running_jobs.is_not(None), running >= Project.max_running_jobs)
    ).all()


def _locked(session: Session, project_id: str) -> Project | None:
    """Returns the project with its row locked if it has limits, so that concurrent checks are serialized; else None."""
    project = session.get(Project, project_id)
    if project is None:
        return None
    limits = (project.max_running_jobs, project.max_queued_jobs, project.max_stored_bytes, project.max_device_hours)
    if all(limit is None for limit in limits):
        return None
    return session.get(Project, project_id, with_for_update=True, populate_existing=True)
