"""Validation of study requests without a worker, and dry runs."""

from collections.abc import Iterator, Mapping

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.architectures import installed
from api.http.errors import InvalidRequest
from api.http.problems import FieldError, FieldErrors
from api.jobs.validation.request import deadline_fault, model_faults, queue_fault, text_faults
from api.registry.addresses import MODEL_URIS, Fault, check_uri, dataset_faults
from api.registry.resolution import Resolved
from api.studies.creation import label
from api.studies.schemas import PlannedCandidate, StudyDryrun, StudyRequest
from ttm_core.spec import catalogue
from ttm_core.spec.base import first_fault
from ttm_core.spec.catalogue import Architecture
from ttm_core.spec.job import StudentSpec
from ttm_core.spec.study.search import Value
from ttm_core.spec.study.study import CandidateSpec, StudySpec
from ttm_jobs.settings import Settings
from ttm_jobs.studies.rules.halving import Schedule, schedule


def check_request(session: Session, settings: Settings, request: StudyRequest) -> None:
    """Raises FieldErrors with all errors of the request that can be detected without a worker."""
    faults = [
        *_faults(session, settings, request),
        *deadline_fault(session, request.deadline),
        *queue_fault(settings, request.queue),
    ]
    faults = faults or list(_trial_fault(request))
    if faults:
        raise FieldErrors(*faults)


def dry_run(session: Session, settings: Settings, resolved: Resolved[StudyRequest]) -> StudyDryrun:
    """The result of a dry run. Raises the same FieldErrors as a submission."""
    request = resolved.request
    check_request(session, settings, request)
    packaged = _packaged(session, settings, request)
    candidates = request.candidates()
    rungs = _rungs(request, len(candidates))
    return StudyDryrun(
        spec=request.model_dump(mode="json", include=set(StudySpec.model_fields)),
        resolved_references=resolved.resolved_references,
        goal=request.resolved_goal,
        candidates=[_planned(each, packaged) for each in candidates],
        rungs=list(rungs.epochs),
        most_epochs=most_epochs_of(request, len(candidates)),
    )


def most_epochs_of(spec: StudySpec, candidates: int) -> int:
    """An upper bound of the epochs that a study of this many candidates trains."""
    trained, rungs = min(candidates, spec.budget.candidates), _rungs(spec, candidates)
    # Every rung costs at most as much as the first one; then the finalists and the baseline.
    finals = (rungs.most[-1] if rungs.most else trained) + spec.baseline
    first = trained * rungs.epochs[0] if rungs.epochs else 0
    return first * len(rungs.epochs) + finals * spec.seeds * spec.training.epoch_count


def _rungs(spec: StudySpec, candidates: int) -> Schedule:
    return schedule(min(candidates, spec.budget.candidates), spec.training.epoch_count, spec.seeds)


def _packaged(session: Session, settings: Settings, spec: StudySpec) -> dict[str, Architecture]:
    """The architectures of packages that workers have, if the study names one."""
    students = [each.architecture for each in spec.students if isinstance(each, StudentSpec)]
    return installed.for_names(session, settings, [spec.teacher.architecture, *students])


def _planned(candidate: CandidateSpec, packaged: Mapping[str, Architecture]) -> PlannedCandidate:
    named = candidate.student.named_architecture
    row = None if named is None else catalogue.find(named, packaged)
    return PlannedCandidate(
        number=candidate.number,
        label=label(candidate),
        parameters=row and row.parameters,
        macs=row and row.macs,
    )


def _trial_fault(spec: StudySpec) -> Iterator[Fault]:
    """The error of the first candidate that would give invalid jobs. No job of a running study could report it."""
    for candidate in spec.candidates():
        detail = _invalid(spec, candidate.student, candidate.values)
        if detail is None:
            continue
        searched = bool(candidate.values) and _invalid(spec, candidate.student, {}) is None
        message = f"The candidate {label(candidate)!r} is not valid: {detail}"
        yield InvalidRequest(message), FieldError(pointer="/search" if searched else "", detail=message)
        return


def _invalid(spec: StudySpec, student: StudentSpec, values: dict[str, Value]) -> str | None:
    """Why the jobs of a candidate would not be valid; None if they are."""
    for baseline in (False, True) if spec.baseline else (False,):
        try:
            spec.trial(student, values, seed=0, baseline=baseline)
        except ValidationError as error:
            fraction = error.errors()[0]["type"].startswith("int_")
            hint = ". A range has fractions: list the values instead." if fraction else ""
            return f"{first_fault(error)}{hint}"
    return None


def _faults(session: Session, settings: Settings, spec: StudySpec) -> Iterator[Fault]:
    yield from text_faults(spec.model_dump(mode="json"), ())
    yield from dataset_faults(session, settings, spec.dataset)
    packaged = _packaged(session, settings, spec)
    yield from model_faults(spec.teacher.architecture, spec.teacher.image_size, "/teacher", packaged)
    yield from check_uri(session, settings, spec.teacher.checkpoint, "/teacher/checkpoint", MODEL_URIS)
    for index, student in enumerate(spec.students):
        if isinstance(student, StudentSpec):
            yield from model_faults(student.architecture, student.image_size, f"/students/{index}", packaged)
            if student.checkpoint is not None:
                at = f"/students/{index}/checkpoint"
                yield from check_uri(session, settings, student.checkpoint, at, MODEL_URIS)
