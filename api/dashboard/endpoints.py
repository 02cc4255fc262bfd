"""Pages of jobs. They read what the REST API reads."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from api.dashboard import docs, operations
from api.dashboard.formats import compression
from api.dashboard.jobs import form
from api.dashboard.jobs.comparison import differences
from api.dashboard.jobs.detail import KEY_HEADER, commands, spans, student_costs
from api.dashboard.jobs.table import COLUMNS, ran_seconds, waited_seconds
from api.dashboard.jobs.table import Query as Address
from api.dashboard.pages import page
from api.dependencies import CallerDep, EngineDep, SettingsDep, StorageDep
from api.http.pagination import CursorParameter
from api.http.types import is_id
from api.jobs import service
from api.jobs.schemas import JobOut
from ttm_core.spec import recipes
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import JobNotFound
from ttm_jobs.repositories import service_stats
from ttm_jobs.repositories.jobs import ordering
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.states import TERMINAL, JobState

router = APIRouter(include_in_schema=False)
for part in (form.router, operations.router, docs.router):
    router.include_router(part)

# What fits on three screens: with more the browser takes longer over the first paint than the service.
_JOBS_ON_A_PAGE = 30
MOST_COMPARED = 10
Word = Annotated[str, Query(max_length=2048)]


def static_files() -> StaticFiles:
    """The style sheet and the modules."""
    return StaticFiles(directory=Path(__file__).parent / "static")


@router.get("/")
def jobs_page(
    request: Request,
    engine: EngineDep,
    cursor: CursorParameter = None,
    state: Annotated[list[JobState], Query()] = [],  # noqa: B006
    sort: Annotated[str, Query(max_length=32)] = "",
    number: Annotated[int, Query(alias="page", ge=0, le=100_000)] = 0,
    tag: Word = "",
    name: Word = "",
    teacher: Word = "",
    dataset: Word = "",
    owner: Word = "",
) -> HTMLResponse:
    """Jobs, newest first, or in the order that `sort` names."""
    words = {"name": name, "tag": tag, "teacher": teacher, "dataset": dataset, "owner": owner}
    filters = JobFilters(
        states=state,
        tags=[tag] if tag else (),
        name=name or None,
        teacher=teacher or None,
        dataset=dataset or None,
        owner=owner or None,
    )
    address = Address(request.url, request.query_params.multi_items())
    by = sort.removeprefix("-")
    with read_scope(engine) as session:
        if by in ordering.ORDERS:
            jobs, more = service.ordered(
                session, by, descending=sort.startswith("-"), limit=_JOBS_ON_A_PAGE, number=number, filters=filters
            )
            older = address.having("page", str(number + 1)) if more else None
        else:
            page_of, _ = service.page(session, limit=_JOBS_ON_A_PAGE, cursor=cursor, filters=filters)
            jobs = page_of.items
            older = address.having("cursor", page_of.next_cursor) if page_of.next_cursor else None
        counts = service_stats.state_counts(session)
    return page(
        "jobs.html",
        jobs=jobs,
        older=older,
        counts=counts,
        chosen=state,
        order=sort,
        words=words,
        first=cursor is None and not number,
        columns=COLUMNS,
        orders=ordering.ORDERS,
        query=address,
        compression=compression,
        waited_seconds=waited_seconds,
        ran_seconds=ran_seconds,
    )


@router.get("/ui/jobs/{job_id}")
def job_page(
    job_id: str, request: Request, engine: EngineDep, caller: CallerDep, settings: SettingsDep
) -> HTMLResponse:
    """One job, live."""
    try:
        if not is_id(job_id):
            raise JobNotFound
        with read_scope(engine) as session:
            job = service.get(session, settings, job_id)
            attempts = service.attempt_list(session, job_id).items
    except JobNotFound:
        return page("not_found.html", 404, what="job", name=job_id)
    base_url = str(request.base_url).rstrip("/")
    return page(
        "job.html",
        job=job,
        attempts=attempts,
        live=job.state not in TERMINAL,
        reported=any(artifact.name == "report.html" for artifact in job.artifacts),
        compression=_compression(job),
        spans=spans(job),
        logs=job.links.log,
        waited=waited_seconds(job),
        ran=ran_seconds(job),
        late=settings.lease_seconds,
        base_url=base_url,
        key_header=KEY_HEADER if caller.key_id else "",
        commands=commands(job, base_url, with_key=caller.key_id is not None),
    )


@router.get("/ui/compare")
def compare_page(
    engine: EngineDep,
    storage: StorageDep,
    settings: SettingsDep,
    job: Annotated[list[str], Query(max_length=MOST_COMPARED)] = [],  # noqa: B006
) -> HTMLResponse:
    """Two to ten jobs beside one another."""
    wanted = list(dict.fromkeys(job))
    jobs, reports = [], {}
    try:
        with read_scope(engine) as session:
            for job_id in wanted:
                if not is_id(job_id):
                    raise JobNotFound
                jobs.append(service.get(session, settings, job_id))
                reports[job_id] = student_costs(session, storage, job_id)
    except JobNotFound:
        return page("not_found.html", 404, what="job", name=job_id)
    if len(jobs) < 2:
        return page("not_found.html", 404, what="comparison of fewer than two jobs", name="")
    metrics = dict.fromkeys(name for each in jobs for name in sorted(each.metrics) if "/" in name)
    return page("compare.html", jobs=jobs, reports=reports, differences=differences(jobs), metrics=metrics)


@router.get("/ui/new")
def new_page(
    recipe: Annotated[str, Query(max_length=200)] = "",
    student: Annotated[str, Query(max_length=128)] = "",
) -> HTMLResponse:
    """The form of a job."""
    return page(
        "new.html",
        recipes=[recipes.find(name) for name in recipes.names()],
        start={"recipe": recipe, "student": student},
        methods=form.methods(),
        training=form.training(),
        handling=form.handling(),
    )


def _compression(job: JobOut) -> float | None:
    """By the run's own count where there is one: with another number of classes the catalogue's differs a little."""
    counted = job.result or {}
    large, small = counted.get("teacher_parameters"), counted.get("student_parameters")
    return large / small if large and small else compression(job.teacher, job.student)
