"""Pages of studies."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from api.comparisons.verdict import difference_text
from api.dashboard.jobs.detail import STUDY, commands
from api.dashboard.jobs.form import Start, scheduling_options
from api.dashboard.jobs.table import Query as Address
from api.dashboard.pages import PageRoute, page, require_submit
from api.dashboard.studies.detail import (
    SIGNS,
    best_accuracy,
    candidate_state,
    goal_text,
    least,
    most_epochs,
    student_name,
    timeline,
    trained_epochs,
)
from api.dashboard.studies.form import start_from
from api.dashboard.studies.parallel import axes, line
from api.dashboard.studies.recommended import recommended
from api.dependencies import CallerDep, EngineDep, SettingsDep, StorageDep
from api.http.types import NoControls, StudyId, is_id
from api.saved_views import service as saved_views
from api.saved_views.queries import StudiesQuery
from api.studies import service
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import StudyNotFound
from ttm_jobs.repositories.studies import crud
from ttm_jobs.studies.states import ENDED, StudyState

router = APIRouter(route_class=PageRoute)

_ROWS = 30
Filter = Annotated[str, Query(max_length=2048), NoControls]


@router.get("/ui/studies")
def studies_page(request: Request, engine: EngineDep, query: Annotated[StudiesQuery, Query()]) -> HTMLResponse:
    """The studies, newest first."""
    with read_scope(engine) as session:
        found = service.page(
            session, limit=_ROWS, cursor=query.cursor, states=() if query.state is None else (query.state,)
        )
        views = saved_views.list_all(session, "studies").items
    address = Address.of(request)
    return page(
        "studies.html",
        views=views,
        goal=goal_text,
        page=found,
        chosen=query.state,
        states=list(StudyState),
        query=address,
    )


@router.get("/ui/studies/{study_id}")
def study_page(
    study_id: StudyId,
    request: Request,
    engine: EngineDep,
    storage: StorageDep,
    caller: CallerDep,
    settings: SettingsDep,
) -> HTMLResponse:
    """One study, updated live: the recommended student, the front, and all candidates."""
    with read_scope(engine) as session:
        study = service.get(session, study_id)
        found, teacher = service.with_teacher(session, study_id)
        card = recommended(session, settings, storage, study, found.items)
    candidates, epochs = found.items, study.spec["training"]["epochs"]
    precision = study.limits.get("precision", "any")
    return page(
        "study.html",
        teacher=teacher,
        epochs=epochs,
        timeline=timeline(study, candidates, epochs),
        study=study,
        card=card,
        trained_epochs=trained_epochs(candidates, epochs),
        most_epochs=most_epochs(study, len(candidates)),
        goal=goal_text(study),
        sign=lambda candidate: SIGNS[candidate_state(candidate)],
        candidates=candidates,
        labels={candidate.number: candidate.label for candidate in candidates},
        best=best_accuracy,
        costs=lambda candidate, name: least(candidate, name, precision),
        student=student_name,
        axes=axes(study, candidates, precision),
        line=lambda candidate: line(candidate, precision),
        difference=difference_text,
        live=study.state not in ENDED,
        commands=commands(STUDY, study.spec, str(request.base_url).rstrip("/"), with_key=not caller.is_anonymous),
    )


@router.get("/ui/new-study")
def new_study_page(
    engine: EngineDep,
    settings: SettingsDep,
    caller: CallerDep,
    teacher: Filter = "",
    dataset: Filter = "",
    origin: Annotated[str, Query(alias="from", max_length=36)] = "",
) -> HTMLResponse:
    """The form that submits a study: empty, with a teacher and a dataset, or with all fields of an earlier study."""
    require_submit(caller, "study")
    start = Start({"/limits/retention": 97, "/limits/bytes": 5})
    if origin:
        if not is_id(origin):
            raise StudyNotFound
        with read_scope(engine) as session:
            options = scheduling_options(crud.get(session, origin), settings)
            start = start_from(service.get(session, origin), options)
    given = {"/teacher/checkpoint": teacher, "/dataset/uri": dataset}
    values = {**start.values} | {pointer: value for pointer, value in given.items() if value}
    return page("new_study.html", values=values, rest=start.rest, origin=origin)
