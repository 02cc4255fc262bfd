"""The sources that projects may read.

A restriction separates projects, so an administrator of the restricted project cannot lift it: the administrators of
the project `default` operate the service.
"""

from sqlalchemy.orm import Session

from api.auth.callers import Caller
from api.projects.schemas import SourcesOut, SourcesRequest
from ttm_jobs.database import audit
from ttm_jobs.errors import Forbidden, ProjectNotFound
from ttm_jobs.models import DEFAULT_PROJECT, Project
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.access import projects
from ttm_jobs.settings import Settings


def check_operator(caller: Caller) -> None:
    """Raises Forbidden unless the caller, who has scope `admin`, has it in the project `default`."""
    if caller.project_id != DEFAULT_PROJECT:
        raise Forbidden(
            f"This request requires scope admin in the project {DEFAULT_PROJECT}; yours is of the project "
            f"{caller.project_id}."
        )


def get(session: Session, name: str, caller: Caller, settings: Settings) -> SourcesOut:
    """The sources of the caller's project, or of any project for operators. Raises ProjectNotFound."""
    project = session.get(Project, name)
    # The caller's own project has no row before something sets its limits.
    if name != caller.project_id and (project is None or caller.project_id != DEFAULT_PROJECT):
        raise ProjectNotFound
    return _view(name, None if project is None else project.sources, settings)


def restrict(session: Session, name: str, request: SourcesRequest, settings: Settings) -> SourcesOut:
    """Replaces the sources of a project, which is created if it does not exist."""
    sources = request.model_dump()
    projects.ensure(session, name).sources = sources
    audit.record_in(session, name)
    return _view(name, sources, settings)


def unrestrict(session: Session, name: str) -> None:
    """Allows a project all sources of the service. Raises ProjectNotFound."""
    project = session.get(Project, name)
    if project is None:
        raise ProjectNotFound
    project.sources = None
    audit.record_in(session, name)


def _view(name: str, sources: Json | None, settings: Settings) -> SourcesOut:
    if sources is not None:
        return SourcesOut(project=name, restricted=True, **sources)
    return SourcesOut(
        project=name,
        restricted=False,
        data_roots=[*map(str, settings.data_roots)],
        origins=[*settings.allowed_origins],
        buckets=[*settings.allowed_buckets],
    )
