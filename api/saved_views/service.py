"""Saved views of the lists on the dashboard."""

from urllib.parse import parse_qsl, urlencode

from sqlalchemy.orm import Session

from api.saved_views import queries
from api.saved_views.schemas import ViewList, ViewOut, ViewPage
from ttm_jobs.models import SavedView
from ttm_jobs.repositories.dashboard import saved_views


def save(session: Session, page: ViewPage, name: str, query: str) -> ViewOut:
    """Saves a view without its position in the list.

    Raises TooManyViews, or FieldErrors for a query that the page refuses.
    """
    kept = urlencode([pair for pair in parse_qsl(query) if pair[0] not in queries.POSITIONS])
    queries.check(page, kept)
    view = saved_views.save(session, page, name, kept)
    session.flush()
    return _view(view)


def list_all(session: Session, page: ViewPage | None = None) -> ViewList:
    """The views of the caller's project."""
    return ViewList(items=[_view(view) for view in saved_views.list_all(session, page)])


def _view(view: SavedView) -> ViewOut:
    href = f"/ui/{view.page}{'?' if view.query else ''}{view.query}"
    return ViewOut.model_validate(
        {"page": view.page, "name": view.name, "query": view.query, "href": href, "created_at": view.created_at}
    )
