"""Pages of studies."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from api.dashboard.formats import count, percent, size
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
    return page("studies.html", limits=limits_text, page=found, chosen=state, states=list(StudyState), query=address)


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
        limits=limits_text,
        live=study.state not in ENDED,
    )


def _best_accuracy(candidate: CandidateOut) -> float | None:
    """The best validation accuracy of a candidate so far: of its complete runs, else at the end of its rungs."""
    jobs = [job for job in candidate.jobs if not job.baseline]
    complete = [job.validation for job in jobs if job.validation is not None]
    return max(complete or (value for job in jobs for value in job.accuracies.values()), default=None)


def limits_text(limits: Mapping[str, Any]) -> str:
    """The limits of a study in words."""
    device = f" on {limits['device']}" if limits.get("device", "worker") != "worker" else ""
    words: dict[str, Callable[[float], str]] = {
        "retention": lambda value: f"at least {percent(value, 1)} of the teacher's accuracy",
        "accuracy": lambda value: f"at least {percent(value)} accuracy",
        "bytes": lambda value: f"at most {size(round(value))}",
        "latency_ms": lambda value: f"at most {value:g} ms{device}",
        "macs": lambda value: f"at most {count(round(value))} MACs",
        "parameters": lambda value: f"at most {count(round(value))} parameters",
    }
    parts = [describe(limits[name]) for name, describe in words.items() if limits.get(name) is not None]
    return ", ".join([*parts, *([f"as {limits['precision']}"] if limits.get("precision", "any") != "any" else [])])


def difference_text(difference: Difference | None) -> str:
    """A difference in accuracy with its interval, or that none is shown."""
    if difference is None:
        return "not compared"
    what = "runs, paired t" if difference.method == "paired_t" else "test images, paired bootstrap"
    interval = f"95 % interval {100 * difference.low:+.2f} to {100 * difference.high:+.2f}; {difference.count} {what}"
    if not difference.shown:
        return f"no difference shown ({interval})"
    return f"{100 * difference.mean:+.2f} points ({interval})"
