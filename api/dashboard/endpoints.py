"""Pages for people. They read what the REST API reads."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from api.dashboard.pages import page
from api.dependencies import EngineDep
from api.identifiers import is_id
from api.jobs import service
from api.openapi import error_codes
from api.pagination import CursorParameter
from ttm_jobs.database import read_scope
from ttm_jobs.errors import JobNotFound
from ttm_jobs.states import TERMINAL, JobState

router = APIRouter(include_in_schema=False)

_JOBS_ON_A_PAGE = 50


def static_files() -> StaticFiles:
    """The style sheet and the modules."""
    return StaticFiles(directory=Path(__file__).parent / "static")


@router.get("/")
def jobs_page(
    engine: EngineDep,
    cursor: CursorParameter = None,
    state: Annotated[list[JobState], Query()] = [],  # noqa: B006
) -> HTMLResponse:
    """Jobs, newest first."""
    with read_scope(engine) as session:
        jobs = service.page(session, limit=_JOBS_ON_A_PAGE, cursor=cursor, states=state)
    return page("jobs.html", jobs=jobs, states=list(JobState), chosen=state, first=cursor is None)


@router.get("/ui/jobs/{job_id}")
def job_page(job_id: str, engine: EngineDep) -> HTMLResponse:
    """One job, live."""
    try:
        if not is_id(job_id):
            raise JobNotFound
        with read_scope(engine) as session:
            job = service.get(session, job_id)
    except JobNotFound:
        return page("not_found.html", 404, what="job", name=job_id)
    return page("job.html", job=job, live=job.state not in TERMINAL)


@router.get("/docs")
def docs_page(request: Request) -> HTMLResponse:
    """The OpenAPI document as a page, complete and without anything from elsewhere."""
    document = request.app.openapi()
    operations = [
        {"path": path, "method": method, **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    by_tag = {tag["name"]: (tag, [o for o in operations if tag["name"] in o["tags"]]) for tag in document["tags"]}
    return page("docs.html", document=document, by_tag=by_tag, codes=error_codes())
