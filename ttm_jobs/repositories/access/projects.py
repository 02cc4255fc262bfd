"""Projects (tenants), their limits and usage."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.errors import Invalid
from ttm_jobs.models import Job, Project, ProjectStorage
from ttm_jobs.settings import PROJECT_NAME, Settings
from ttm_jobs.sources import AllowedSources
from ttm_jobs.states import HELD, JobState

_NAME = re.compile(PROJECT_NAME)


class InvalidProject(Invalid):
    """A project's name has at most 64 lowercase letters, digits and inner hyphens."""

    code = "invalid_project"


@dataclass(frozen=True)
class Usage:
    """Resource use of a project."""

    running_jobs: int
    queued_jobs: int
    stored_bytes: int
    device_hours: float


def ensure(session: Session, project_id: str) -> Project:
    """Returns the project; creates it if it does not exist. Raises InvalidProject."""
    if _NAME.fullmatch(project_id) is None:
        raise InvalidProject
    project = session.get(Project, project_id)
    if project is None:
        project = Project(id=project_id, created_at=now(session))
        session.add(project)
        session.flush()
    return project


def allowed_sources(session: Session, project_id: str, settings: Settings) -> AllowedSources:
    """What the URIs of a project's jobs may refer to."""
    project = session.get(Project, project_id)
    allowed = AllowedSources.of_service(settings)
    return allowed if project is None or project.sources is None else allowed.restricted_to(**project.sources)


def list_all(session: Session) -> Sequence[Project]:
    """Returns all, ordered by name."""
    return session.scalars(select(Project).order_by(Project.id)).all()


def usage(session: Session, project_id: str) -> Usage:
    """Computes the usage from the current rows."""
    return Usage(
        running_jobs=running_jobs(session, project_id),
        queued_jobs=queued_jobs(session, project_id),
        stored_bytes=stored_bytes(session, project_id),
        device_hours=device_hours(session, project_id),
    )


def running_jobs(session: Session, project_id: str) -> int:
    """The number of jobs that a worker holds."""
    return _count(session, project_id, *HELD)


def queued_jobs(session: Session, project_id: str, *, at_most: int | None = None) -> int:
    """The number of queued jobs. Counts no further than `at_most`."""
    return _count(session, project_id, JobState.QUEUED, at_most=at_most)


def stored_bytes(session: Session, project_id: str) -> int:
    """The bytes of uploads, artifacts and checkpoints."""
    query = select(func.sum(ProjectStorage.size)).where(ProjectStorage.project_id == project_id)
    return int(session.scalar(query) or 0)


def device_hours(session: Session, project_id: str) -> float:
    """The device hours of ended attempts."""
    seconds = session.scalar(select(func.sum(Job.device_seconds)).where(Job.project_id == project_id))
    return (seconds or 0.0) / 3600


def _count(session: Session, project_id: str, *states: JobState, at_most: int | None = None) -> int:
    found = select(Job.id).where(Job.project_id == project_id, Job.state.in_(states)).limit(at_most).subquery()
    return session.scalar(select(func.count()).select_from(found)) or 0
