"""Routes of studies."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Query, Response
from fastapi.openapi.models import Example

from api.dependencies import CallerDep, EngineDep, ServicesDep, SettingsDep
from api.http.errors import InvalidCursor, InvalidRequest, ReaderUnavailable, TooManyInspections
from api.http.idempotency import IdempotencyDep, location_header
from api.http.json_bodies import BODY_ERRORS, JsonRoute
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.http.types import StudyId, StudyReference
from api.jobs.validation.checkpoints import UnusableCheckpoint, check_study_teacher, uploaded_file
from api.jobs.validation.request import SPEC_ERRORS
from api.registry.resolution import resolve
from api.studies import service
from api.studies.schemas import (
    CandidateList,
    FrontOut,
    ReplayOut,
    StudyDryrun,
    StudyOut,
    StudyPage,
    StudyRecommendation,
    StudyRequest,
)
from api.studies.validation import dry_run
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import (
    AmbiguousStudy,
    IdempotencyKeyReused,
    QuotaExceeded,
    RequestInFlight,
    StudyNotCancellable,
    StudyNotDeletable,
    StudyNotFinished,
    StudyNotFound,
    StudyNotPausable,
    StudyNotResumable,
)
from ttm_jobs.repositories.studies import crud
from ttm_jobs.studies.states import StudyState

router = APIRouter(prefix="/studies", tags=["studies"], route_class=JsonRoute)

_UPLOAD = "upload:01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"
# Each is valid once its upload exists.
EXAMPLES: dict[str, Example] = {
    "one limit": {
        "summary": "The smallest student that keeps 97 % of the teacher's accuracy",
        "value": {"teacher": _UPLOAD, "dataset": "file:///data/pets", "limits": {"retention": 0.97}},
    },
    "limits, students and a search": {
        "summary": "Named students and a search space, within 5 MB and 10 ms",
        "value": {
            "name": "pets on the kiosk",
            "teacher": {"checkpoint": _UPLOAD, "architecture": "resnet50", "num_classes": 37},
            "dataset": "file:///data/pets",
            "goal": "most_accurate",
            "limits": {"bytes": 5_000_000, "latency_ms": 10},
            "students": ["resnet18", {"family": "mobilenetv3_*"}],
            "search": {"method.beta": [1, 2], "training.optimizer.learning_rate": {"log": [0.01, 0.2]}},
            "training": {"epochs": 30},
            "budget": {"candidates": 27, "device_hours": 8},
        },
    },
}
StudyBody = Annotated[StudyRequest, Body(openapi_examples=EXAMPLES)]


@router.post(
    "",
    operation_id="studies_create",
    summary="Submit a study",
    status_code=201,
    response_model=StudyOut,
    responses=location_header("the study")
    | problems(*SPEC_ERRORS, QuotaExceeded, IdempotencyKeyReused, RequestInFlight, *BODY_ERRORS),
)
def studies_create(
    request: StudyBody, idempotent: IdempotencyDep, engine: EngineDep, settings: SettingsDep, caller: CallerDep
) -> Response:
    """Creates a study, which finds the student that meets limits. Only the teacher, the dataset and one limit are
    required. The study creates jobs: one measures the candidates without training, one stores the teacher's logits, and
    the others train the candidates by successive halving.
    """
    create = partial(service.create, settings=settings, request=request, owner=caller.name)
    return idempotent.respond(engine, request, create, _location)


@router.post(
    "/validate",
    operation_id="studies_validate",
    summary="Validate a study without submitting it",
    responses=problems(*SPEC_ERRORS, UnusableCheckpoint, TooManyInspections, ReaderUnavailable, *BODY_ERRORS),
)
def studies_validate(request: StudyBody, engine: EngineDep, services: ServicesDep) -> StudyDryrun:
    """Returns the same errors as `POST /studies`, or the spec with its defaults, the candidates, and an upper bound of
    the epochs. An uploaded teacher is inspected as well. Creates nothing.
    """
    with read_scope(engine) as session:
        resolved = resolve(session, request)
        result = dry_run(session, services.settings, resolved)
        teacher = resolved.request.teacher
        file = uploaded_file(session, teacher.checkpoint)
    if file is not None:
        check_study_teacher(services.inspector, teacher, file)
    return result


@router.get(
    "",
    operation_id="studies_list",
    summary="List studies, newest first",
    responses=problems(InvalidRequest, InvalidCursor),
)
def studies_list(
    engine: EngineDep,
    limit: Limit = 50,
    cursor: CursorParameter = None,
    state: Annotated[
        list[StudyState],
        Query(description="Only studies in this state. May be repeated: studies may have any of the states."),
    ] = [],  # noqa: B006
) -> StudyPage:
    """A page of the project's studies. New studies do not shift later pages."""
    with read_scope(engine) as session:
        return service.page(session, limit=limit, cursor=cursor, states=state)


@router.get(
    "/{study_id}", operation_id="studies_get", summary="Show a study", responses=problems(StudyNotFound, AmbiguousStudy)
)
def studies_get(study_id: StudyReference, engine: EngineDep) -> StudyOut:
    """State, stage, spec, rungs, finalists and the result of a study."""
    with read_scope(engine) as session:
        return service.find(session, study_id)


@router.delete(
    "/{study_id}",
    operation_id="studies_delete",
    summary="Delete a study that has ended",
    status_code=204,
    responses=problems(StudyNotFound, StudyNotDeletable),
)
def studies_delete(study_id: StudyId, engine: EngineDep) -> None:
    """Deletes a study with its jobs and their artifacts. Stored files are deleted within about a day."""
    with session_scope(engine) as session:
        crud.remove(session, study_id)


@router.get(
    "/{study_id}/candidates",
    operation_id="studies_candidates",
    summary="List a study's candidates",
    responses=problems(StudyNotFound),
)
def studies_candidates(study_id: StudyId, engine: EngineDep) -> CandidateList:
    """The candidates with their measurements, their jobs, and the reason why a candidate was excluded."""
    with read_scope(engine) as session:
        return service.candidate_list(session, study_id)


@router.get(
    "/{study_id}/front",
    operation_id="studies_front",
    summary="Show a study's front",
    responses=problems(StudyNotFound),
)
def studies_front(study_id: StudyId, engine: EngineDep) -> FrontOut:
    """The files of the finalists that no other matches or exceeds in accuracy, size and latency."""
    with read_scope(engine) as session:
        return service.front(session, study_id)


@router.get(
    "/{study_id}/recommendation",
    operation_id="studies_recommendation",
    summary="Show the recommended student",
    responses=problems(StudyNotFound, StudyNotFinished),
)
def studies_recommendation(study_id: StudyId, engine: EngineDep) -> StudyRecommendation:
    """The recommended student with its job, its accuracy, and its comparison with the other finalists."""
    with read_scope(engine) as session:
        found = service.get(session, study_id).recommendation
    if found is None:
        raise StudyNotFinished
    return found


@router.get(
    "/{study_id}/replay",
    operation_id="studies_replay",
    summary="Replay a study's decisions",
    responses=problems(StudyNotFound),
)
def studies_replay(study_id: StudyId, engine: EngineDep) -> ReplayOut:
    """Computes the decisions again from the stored results: selected candidates, rungs, finalists, recommendation."""
    with read_scope(engine) as session:
        return service.replay(session, study_id)


@router.post(
    "/{study_id}/cancel",
    operation_id="studies_cancel",
    summary="Cancel a study",
    responses=problems(StudyNotFound, StudyNotCancellable),
)
def studies_cancel(study_id: StudyId, engine: EngineDep) -> StudyOut:
    """Cancels a study and its jobs. Repeating the request has no effect."""
    with session_scope(engine) as session:
        return service.change(session, crud.request_cancel, study_id)


@router.post(
    "/{study_id}/pause",
    operation_id="studies_pause",
    summary="Pause a study",
    responses=problems(StudyNotFound, StudyNotPausable),
)
def studies_pause(study_id: StudyId, engine: EngineDep) -> StudyOut:
    """Pauses a study and its jobs, which save a checkpoint."""
    with session_scope(engine) as session:
        return service.change(session, crud.request_pause, study_id)


@router.post(
    "/{study_id}/resume",
    operation_id="studies_resume",
    summary="Resume a paused study",
    responses=problems(StudyNotFound, StudyNotResumable),
)
def studies_resume(study_id: StudyId, engine: EngineDep) -> StudyOut:
    """Continues a study. Its jobs resume from their last checkpoints."""
    with session_scope(engine) as session:
        return service.change(session, crud.resume, study_id)


def _location(study: StudyOut) -> str:
    return study.links.self
