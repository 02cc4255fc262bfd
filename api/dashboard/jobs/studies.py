"""Which jobs of studies the jobs page shows."""

from dataclasses import dataclass
from typing import Self

from sqlalchemy.orm import Session

from api.saved_views.queries import ALL_JOBS
from ttm_jobs.errors import StudyNotFound
from ttm_jobs.repositories.jobs.listing import NO_STUDY
from ttm_jobs.repositories.studies import crud


@dataclass(frozen=True)
class StudyChoice:
    """The choice of a page of jobs.

    Attributes:
        id: of the study to which the shown jobs belong; None if they belong to any or to none.
        name: of that study; None if it has none, or does not exist.
        hidden: whether jobs of studies are hidden.
        exist: whether the project has studies.
    """

    id: str | None
    name: str | None
    hidden: bool
    exist: bool

    @classmethod
    def of(cls, session: Session, study: str) -> Self:
        """The choice for the page's parameter `study`."""
        if study in (NO_STUDY, ALL_JOBS):
            return cls(None, None, study == NO_STUDY, bool(crud.page(session, limit=1)))
        try:
            return cls(study, crud.get(session, study).name, hidden=False, exist=True)
        except StudyNotFound:
            return cls(study, None, hidden=False, exist=True)
