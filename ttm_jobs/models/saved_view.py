"""saved_views: filters, order and groups of a list on the dashboard, under a name that a project's people share."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from ttm_jobs.models.base import Base
from ttm_jobs.models.project import DEFAULT_PROJECT, Owned


class SavedView(Owned, Base):
    """`page` is the list, jobs or studies. `query` is the query part of the page's address."""

    __tablename__ = "saved_views"

    project_id: Mapped[str] = mapped_column(
        String(64), primary_key=True, default=DEFAULT_PROJECT, server_default=DEFAULT_PROJECT
    )
    page: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    query: Mapped[str] = mapped_column(String(2000))
    created_at: Mapped[datetime]
