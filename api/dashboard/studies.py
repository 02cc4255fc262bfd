"""Pages of studies."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from api.dashboard.jobs.table import Query as Address
from api.dashboard.pages import page
from api.dependencies import EngineDep
from api.http.pagination import CursorParameter
from api.http.types import is_id
from api.studies import service
from api.studies.schemas import CandidateOut, Difference
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import StudyNotFound
from ttm_jobs.studies.states import ENDED, StudyState

router = APIRouter()

_ROWS = 30


@router.get("/ui/studies")
def studies_page(
    request: Request,
    engine: EngineDep,
    state: Annotated[StudyState | None, Query()] = None,
    cursor: CursorParameter = None,
) -> HTMLResponse:
    """The studies, newest first."""
    with read_scope(engine) as session:
        found = service.page(session, limit=_ROWS, cursor=cursor, state=state)
    address = Address(request.url, request.query_params.multi_items())
    return page("studies.html", page=found, chosen=state, states=list(StudyState), query=address)


@router.get("/ui/studies/{study_id}")
def study_page(study_id: str, engine: EngineDep) -> HTMLResponse:
    """One study, updated live: the recommended student, the front, and all candidates."""
    try:
        if not is_id(study_id):
            raise StudyNotFound
        with read_scope(engine) as session:
            study = service.get(session, study_id)
            candidates = service.candidate_list(session, study_id).items
    except StudyNotFound:
        return page("not_found.html", 404, what="study", name=study_id)
    return page(
        "study.html",
        study=study,
        candidates=candidates,
        labels={candidate.number: candidate.label for candidate in candidates},
        best=_best_accuracy,
        difference=difference_text,
        live=study.state not in ENDED,
    )


def _best_accuracy(candidate: CandidateOut) -> float | None:
    """The best validation accuracy of a candidate at the end of its last rung."""
    return max((value for job in candidate.jobs if not job.baseline for value in job.accuracies.values()), default=None)


def difference_text(difference: Difference | None) -> str:
    """A difference in accuracy with its interval, or that none is shown."""
    if difference is None:
        return "not compared"
    what = "runs, paired t" if difference.method == "paired_t" else "test images, paired bootstrap"
    interval = f"95 % interval {100 * difference.low:+.2f} to {100 * difference.high:+.2f}; {difference.count} {what}"
    if not difference.shown:
        return f"no difference shown ({interval})"
    return f"{100 * difference.mean:+.2f} points ({interval})"
