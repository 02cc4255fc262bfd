"""The home page: what runs, what finished, and what the fleet does."""

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from api.dashboard.pages import page
from api.dashboard.studies.detail import limits_text
from api.dependencies import EngineDep, SettingsDep
from api.jobs import service as jobs
from api.operations import service as operations
from api.studies import service as studies
from ttm_jobs.database.engine import read_scope
from ttm_jobs.repositories import service_stats
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.states import TERMINAL, JobState

router = APIRouter()

_ACTIVE = (JobState.RUNNING, JobState.PAUSING, JobState.CANCELLING)
_JOBS = 8
_STUDIES = 5


@router.get("/")
def home_page(engine: EngineDep, settings: SettingsDep) -> HTMLResponse:
    """The active and the latest finished jobs and studies, and the workers in use."""
    with read_scope(engine) as session:
        active, _ = jobs.page(session, limit=_JOBS, cursor=None, filters=JobFilters(states=_ACTIVE))
        ended, _ = jobs.page(session, limit=_JOBS, cursor=None, filters=JobFilters(states=sorted(TERMINAL)))
        searches = studies.page(session, limit=_STUDIES, cursor=None, state=None).items
        counts = service_stats.state_counts(session)
        workers = operations.worker_list(session, settings).items
    return page(
        "home.html",
        active=active.items,
        finished=sorted(ended.items, key=lambda job: job.finished_at or job.created_at, reverse=True),
        studies=searches,
        limits=limits_text,
        counts=counts,
        workers=workers,
        empty=not (searches or any(counts.values())),
    )
