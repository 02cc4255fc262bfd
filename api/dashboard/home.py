"""The home page: what runs, what finished, and what the fleet does."""

from collections.abc import Sequence
from datetime import datetime

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from api.dashboard.pages import PageRoute, page
from api.dashboard.studies.detail import goal_text
from api.dependencies import EngineDep, SettingsDep
from api.jobs import service as jobs
from api.jobs.schemas import JobSummary
from api.jobs.views import summary
from api.operations import service as operations
from api.studies import service as studies
from api.studies.schemas import StudySummary
from ttm_jobs.database.engine import read_scope
from ttm_jobs.repositories.jobs import listing
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.states import JobState

router = APIRouter(route_class=PageRoute)

_ACTIVE = (JobState.RUNNING, JobState.PAUSING, JobState.CANCELLING)
_JOBS = 8
_FINISHED = 10
_STUDIES = 5


@router.get("/")
def home_page(engine: EngineDep, settings: SettingsDep) -> HTMLResponse:
    """The active and the latest finished jobs and studies, and the workers in use."""
    with read_scope(engine) as session:
        active, _ = jobs.page(session, limit=_JOBS, cursor=None, filters=JobFilters(states=_ACTIVE))
        ended = [summary(job) for job in listing.ended_alone(session, limit=_FINISHED)]
        searches = studies.page(session, limit=_FINISHED, cursor=None).items
        counts = listing.state_counts(session)
        workers = operations.worker_list(session, settings).items
    return page(
        "home.html",
        active=active.items,
        finished=_latest([("job", job) for job in ended], [("study", study) for study in searches]),
        studies=searches[:_STUDIES],
        goal=goal_text,
        counts=counts,
        workers=workers,
        empty=not (searches or any(counts.values())),
    )


_Ended = tuple[str, JobSummary | StudySummary]


def _latest(*kinds: Sequence[_Ended]) -> list[_Ended]:
    """The jobs and studies that ended, the latest first."""

    def ended_at(entry: _Ended) -> datetime:
        assert entry[1].finished_at is not None
        return entry[1].finished_at

    ended = [entry for entries in kinds for entry in entries if entry[1].finished_at is not None]
    return sorted(ended, key=ended_at, reverse=True)[:_FINISHED]
