"""Saved views of a project."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import TooManyViews, ViewNotFound
from ttm_jobs.models import Project, SavedView

_MOST = 100


def save(session: Session, page: str, name: str, query: str) -> SavedView:
    """Saves a view, or changes the query of the one with this name. Raises TooManyViews."""
    project_id = project_of(session)
    # Serializes concurrent additions.
    session.get(Project, project_id, with_for_update=True)
    view = session.get(SavedView, (project_id, page, name))
    if view is not None:
        view.query = query
        return view
    count = session.scalar(select(func.count()).select_from(SavedView).where(SavedView.project_id == project_id)) or 0
    if count >= _MOST:
        raise TooManyViews(f"A project has at most {_MOST} saved views.")
    view = SavedView(project_id=project_id, page=page, name=name, query=query, created_at=now(session))
    session.add(view)
    return view


def list_all(session: Session, page: str | None = None) -> Sequence[SavedView]:
    """Returns the views of the session's project, of one page or of all, by page and name."""
    query = select(SavedView).where(SavedView.project_id == project_of(session))
    if page is not None:
        query = query.where(SavedView.page == page)
    return session.scalars(query.order_by(SavedView.page, SavedView.name)).all()


def remove(session: Session, page: str, name: str) -> None:
    """Deletes a view. Raises ViewNotFound."""
    view = session.get(SavedView, (project_of(session), page, name))
    if view is None:
        raise ViewNotFound
    session.delete(view)
