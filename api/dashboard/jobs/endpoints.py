"""Pages of jobs: the table, one job, the comparison, and the form that submits a job."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from api.comparisons import service as comparisons
from api.comparisons.verdict import difference_text
from api.dashboard.jobs import damage, form
from api.dashboard.jobs.comparison import GroupRow, columns
from api.dashboard.jobs.detail import JOB, KEY_HEADER, commands, onnx_files, spans, speed
from api.dashboard.jobs.groups import GROUPINGS, MOST_JOBS, MOST_LINKS, grouped
from api.dashboard.jobs.studies import StudyChoice
from api.dashboard.jobs.table import COLUMNS, common_teacher, equal_columns, ran_seconds, waited_seconds
from api.dashboard.jobs.table import Query as Address
from api.dashboard.pages import PageRoute, page, require_submit
from api.dependencies import CallerDep, EngineDep, SettingsDep, StorageDep
from api.http.types import JobId, NoControls, is_id
from api.jobs import service
from api.saved_views import service as saved_views
from api.saved_views.queries import ALL_JOBS, JobsQuery
from ttm_core.spec import recipes
from ttm_core.spec.damage.files import DAMAGE_FILE
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import JobNotFound
from ttm_jobs.repositories.jobs import crud, ordering
from ttm_jobs.repositories.jobs.listing import NO_STUDY, JobFilters
from ttm_jobs.states import TERMINAL

router = APIRouter(route_class=PageRoute)

# About three screens. With more rows the first paint takes longer than the response.
_PAGE_SIZE = 30
Filter = Annotated[str, Query(max_length=2048), NoControls]


@router.get("/ui/jobs")
def jobs_page(request: Request, engine: EngineDep, query: Annotated[JobsQuery, Query()]) -> HTMLResponse:
    """The jobs table, newest first or sorted by a column, or groups of jobs."""
    fields = {name: getattr(query, name) for name in ("name", "tag", "teacher", "dataset", "owner")}
    study = query.study or NO_STUDY  # the empty value of a form
    filters = JobFilters(
        states=query.state,
        tags=[query.tag] if query.tag else (),
        name=query.name or None,
        teacher=query.teacher or None,
        dataset=query.dataset or None,
        owner=query.owner or None,
        study=None if study == ALL_JOBS else study,
    )
    address = Address.of(request)
    with read_scope(engine) as session:
        if query.sort:
            jobs, more = service.ordered(
                session,
                query.sort.removeprefix("-"),
                descending=query.sort.startswith("-"),
                limit=_PAGE_SIZE,
                number=query.page,
                filters=filters,
            )
            older = address.having("page", str(query.page + 1)) if more else None
        else:
            page_of, _ = service.page(session, limit=_PAGE_SIZE, cursor=query.cursor, filters=filters)
            jobs = page_of.items
            older = address.having("cursor", page_of.next_cursor) if page_of.next_cursor else None
        counts = service.state_counts(session, filters)
        views = saved_views.list_all(session, "jobs").items
        groups = grouped(session, query.group, filters) if query.group else None
        studies = StudyChoice.of(session, study)
    return page(
        "jobs.html",
        views=views,
        group=query.group,
        groupings=GROUPINGS,
        grouped=groups,
        most=MOST_JOBS,
        most_links=MOST_LINKS,
        jobs=jobs,
        older=older,
        counts=counts,
        chosen=query.state,
        order=query.sort,
        fields=fields,
        studies=studies,
        filtered=bool(query.state or any(fields.values()) or studies.id),
        first=query.cursor is None and not query.page,
        columns=COLUMNS,
        equal=equal_columns(jobs),
        teacher=common_teacher(jobs),
        orders=ordering.ORDERS,
        query=address,
        unfiltered=address.without("state", *fields, *(["study"] if studies.id else [])),
        waited_seconds=waited_seconds,
        ran_seconds=ran_seconds,
    )


@router.get("/ui/jobs/{job_id}")
def job_page(
    job_id: JobId, request: Request, engine: EngineDep, storage: StorageDep, caller: CallerDep, settings: SettingsDep
) -> HTMLResponse:
    """One job, updated live."""
    with read_scope(engine) as session:
        job = service.get(session, settings, job_id)
        attempts = service.attempt_list(session, job_id).items
        last_event = crud.get(session, job_id).last_event_number
        measured = speed(session, storage, job_id)
    base_url = str(request.base_url).rstrip("/")
    return page(
        "job.html",
        job=job,
        attempts=attempts,
        live=job.state not in TERMINAL,
        last_event=last_event,
        has_report=any(artifact.name == "report.html" for artifact in job.artifacts),
        predicts=damage.predicts(job, caller),
        has_damage=any(artifact.name == DAMAGE_FILE for artifact in job.artifacts),
        speed=measured,
        files=onnx_files(job, measured),
        spans=spans(job),
        log_url=job.links.log,
        queued_seconds=waited_seconds(job),
        run_seconds=ran_seconds(job),
        lease_seconds=settings.lease_seconds,
        base_url=base_url,
        key_header="" if caller.is_anonymous else KEY_HEADER,
        commands=commands(JOB, job.spec, base_url, with_key=not caller.is_anonymous),
    )


@router.get("/ui/compare")
def compare_page(
    engine: EngineDep,
    storage: StorageDep,
    settings: SettingsDep,
    job: Annotated[list[str], Query(max_length=comparisons.MAX_JOBS)] = [],  # noqa: B006
    baseline: Annotated[str, Query(max_length=36)] = "",
) -> HTMLResponse:
    """Two or more jobs side by side. Jobs that differ only in their seed share a row."""
    job_ids = list(dict.fromkeys(job))
    if len(job_ids) < 2:
        raise JobNotFound("A comparison needs at least two jobs.")
    if not all(is_id(job_id) for job_id in job_ids):
        raise JobNotFound
    with read_scope(engine) as session:
        found = comparisons.compare(session, storage, settings, job_ids, baseline or None)
    return page(
        "compare.html",
        compared=found,
        rows=[GroupRow.of(group, found) for group in found.groups],
        columns=columns(found),
        difference=difference_text,
        address=f"/ui/compare?{urlencode([('job', each) for each in job_ids])}",
    )


@router.get("/ui/new")
def new_page(
    engine: EngineDep,
    settings: SettingsDep,
    caller: CallerDep,
    recipe: Annotated[str, Query(max_length=200)] = "",
    teacher: Filter = "",
    student: Annotated[str, Query(max_length=128)] = "",
    dataset: Filter = "",
    origin: Annotated[str, Query(alias="from", max_length=36)] = "",
) -> HTMLResponse:
    """The form that submits a job: empty, with some fields, or with all fields of an earlier job."""
    require_submit(caller, "job")
    start = form.Start()
    if origin:
        if not is_id(origin):
            raise JobNotFound
        with read_scope(engine) as session:
            job = crud.get(session, origin)
            start = form.start_from(service.show(session, settings, job), form.scheduling_options(job, settings))
    given = {
        "/recipe": recipe,
        "/teacher/checkpoint": teacher,
        "/student/architecture": student,
        "/dataset/uri": dataset,
    }
    values = {**start.values} | {pointer: value for pointer, value in given.items() if value}
    return page(
        "new.html",
        recipes=[recipes.find(name) for name in recipes.names()],
        unknown_recipe=_unknown_recipe(str(values.get("/recipe") or "")),
        values=values,
        rest=start.rest,
        origin=origin,
        normalizations=form.NORMALIZATIONS,
        methods=form.methods(),
        training=form.training(),
        scheduling=form.scheduling(),
    )


def _unknown_recipe(name: str) -> str | None:
    """Why a recipe cannot be selected; None if it can, or none is named."""
    try:
        if name:
            recipes.find(name)
    except recipes.UnknownRecipe as error:
        return str(error)
    return None
