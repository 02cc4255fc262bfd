"""The page that shows what a student lost against its teacher, or against another job's student."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from api.auth.callers import Caller
from api.damage import service as damage_service
from api.damage.schemas import ImageSort
from api.damage.service import DifferentData, NoDamageReport
from api.dashboard.jobs.table import Query as Address
from api.dashboard.pages import PageRoute, may_submit, page
from api.dependencies import CallerDep, EngineDep, SettingsDep, StorageDep
from api.http.pagination import CursorParameter
from api.http.types import JobId, is_id
from api.jobs import service
from api.jobs.schemas import JobOut
from ttm_core.spec.damage.schema import Calibration, ClassDamage, Outcome
from ttm_core.spec.damage.single_prediction import FILES
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import JobNotFinished, JobNotFound

router = APIRouter(route_class=PageRoute)

_IMAGES = 24
_ROWS = 10
_BAR_PIXELS = 200
_MAX_PERCENT = 150.0
_CHART_PIXELS = 240
_OUTCOMES: dict[Outcome, str] = {
    "lost": "{reference} right, student wrong",
    "gained": "student right, {reference} wrong",
    "both_wrong": "both wrong",
    "disagreement": "different classes",
}


@dataclass(frozen=True)
class Bar:
    """Positions in pixels of a retention and its interval; `full` is 100 %."""

    low: float
    high: float
    at: float
    full: float


@router.get("/ui/jobs/{job_id}/damage")
def damage_page(
    job_id: JobId,
    request: Request,
    engine: EngineDep,
    storage: StorageDep,
    settings: SettingsDep,
    caller: CallerDep,
    against: Annotated[str, Query(max_length=100)] = "",
    outcome: Outcome | Literal[""] = "",
    class_name: Annotated[str, Query(alias="class", max_length=256)] = "",
    sort: ImageSort | Literal[""] = "",
    classes: Annotated[str, Query(max_length=10)] = "",
    cursor: CursorParameter = None,
) -> HTMLResponse:
    """Retention per class, grown confusions, calibration, and images that the models get wrong."""
    other = against.strip() or None
    with read_scope(engine) as session:
        job = service.get(session, settings, job_id)
        try:
            if other is not None and not is_id(other):
                raise JobNotFound(f"No job has the id {other}.")
            compared = damage_service.read(session, storage, job_id, other)
        except (NoDamageReport, DifferentData, JobNotFinished) as error:
            return _problem(job, against, error.message, 404 if isinstance(error, NoDamageReport) else 409)
        except JobNotFound as error:
            return _problem(job, against, error.message, 404)
    images = damage_service.image_page(
        compared,
        outcome=outcome or None,
        class_name=class_name or None,
        sort=sort or None,
        limit=_IMAGES,
        cursor=cursor,
    )
    report = compared.report
    shown = report.classes if classes == "all" else report.classes[:_ROWS]
    reference = "teacher" if other is None else "other student"
    return page(
        "damage.html",
        job=job,
        predicts=predicts(job, caller),
        report=report,
        problem=None,
        images=images,
        reference=reference,
        outcomes={name: _OUTCOMES[name].format(reference=reference) for name in report.outcomes},
        chosen={"outcome": outcome, "class": class_name, "sort": sort, "against": against},
        labels=sorted({entry.label or entry.reference[0].name for entry in compared.gallery}),
        rows=list(zip(shown, _bars(shown), strict=True)),
        calibrations=_curves(reference, report.student_calibration, report.reference_calibration),
        chart=_CHART_PIXELS,
        query=Address.of(request),
    )


def predicts(job: JobOut, caller: Caller) -> bool:
    """Whether `POST /jobs/{id}/predict` answers the caller: the job has an ONNX file of its student, and a caller that
    may only read sends no POST requests.
    """
    return may_submit(caller) and any(FILES.get(artifact.name, "teacher") != "teacher" for artifact in job.artifacts)


def _problem(job: JobOut, against: str, message: str, status: int) -> HTMLResponse:
    return page(
        "damage.html",
        status,
        job=job,
        report=None,
        problem=message,
        chosen={"against": against},
        predicts=False,
    )


def _bars(rows: Sequence[ClassDamage]) -> list[Bar | None]:
    """The bars of the classes, on a scale that all share, which starts below the lowest interval; None without a
    retention.
    """
    lows = [row.retention_low for row in rows if row.retention_low is not None]
    highs = [row.retention_high for row in rows if row.retention_high is not None]
    shortest = 0.95 * min(100.0, *lows) if lows else 0.0
    longest = 1.02 * min(max(100.0, *highs), _MAX_PERCENT) if highs else 100.0

    def position(percent: float) -> float:
        return round(_BAR_PIXELS * (min(percent, longest) - shortest) / (longest - shortest), 1)

    return [
        None
        if row.retention_percent is None or row.retention_low is None or row.retention_high is None
        else Bar(
            low=position(row.retention_low),
            high=position(row.retention_high),
            at=position(row.retention_percent),
            full=position(100.0),
        )
        for row in rows
    ]


@dataclass(frozen=True)
class Curve:
    """A reliability curve: its name, its values, and its points in pixels, with the origin at the lower left."""

    name: str
    calibration: Calibration
    points: list[tuple[float, float]]


def _curves(reference: str, student: Calibration | None, other: Calibration | None) -> list[Curve]:
    named = [("student", student), (reference, other)]
    return [
        Curve(
            name,
            calibration,
            [
                (round(_CHART_PIXELS * each.confidence, 1), round(_CHART_PIXELS * (1 - each.accuracy), 1))
                for each in calibration.bins
                if each.confidence is not None and each.accuracy is not None
            ],
        )
        for name, calibration in named
        if calibration is not None
    ]
