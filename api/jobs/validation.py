"""Validation of job requests without a worker, and dry runs."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from api.http.errors import InvalidRequest
from api.http.field_errors import pointer
from api.http.problems import FieldError, FieldErrors
from api.jobs.estimates import estimate
from api.jobs.schemas import Dryrun, JobRequest, ModelSize
from api.registry.addresses import DATASET_URIS, STUDENT_URIS, TEACHER_URIS, Fault, check_uri
from api.registry.resolution import Resolved
from ttm_core.spec import catalogue
from ttm_core.spec.job import DistillSpec
from ttm_jobs.database.clock import now
from ttm_jobs.errors import Invalid
from ttm_jobs.settings import Settings


class UnknownArchitecture(Invalid):
    """There is no such architecture. The message suggests similar names."""

    code = "unknown_architecture"


class DeadlinePassed(Invalid):
    """The deadline is in the past."""

    code = "deadline_passed"


class UnknownQueue(Invalid):
    """The service has no queue with this name."""

    code = "unknown_queue"


def check_request(session: Session, settings: Settings, request: JobRequest) -> None:
    """Raises FieldErrors with all errors of the request that can be detected without a worker."""
    faults = [
        *_faults(session, settings, request),
        *_deadline_fault(session, request.deadline),
        *_queue_fault(settings, request.queue),
    ]
    if faults:
        raise FieldErrors(*faults)


def dry_run(session: Session, settings: Settings, resolved: Resolved[JobRequest]) -> Dryrun:
    """The result of a dry run. Raises the same FieldErrors as a submission."""
    request = resolved.request
    check_request(session, settings, request)
    teachers = [teacher.architecture for teacher in request.all_teachers]
    classes = next((teacher.num_classes for teacher in request.all_teachers if teacher.num_classes), None)
    logits = None if classes is None else classes * len(request.all_teachers)
    similar = estimate(session, request)
    return Dryrun(
        spec=request.model_dump(mode="json", include=set(DistillSpec.model_fields)),
        resolved_references=resolved.resolved_references,
        student=_size(request.student.architecture),
        teachers=[_size(name) for name in teachers if name is not None],
        teacher_store_bytes_per_image=logits and logits * _LOGIT_BYTES[request.training.stored_as],
        similar_job=similar and similar.job_id,
        seconds=similar and similar.seconds,
        memory_bytes=similar and similar.memory_bytes,
        disk_bytes=similar and similar.disk_bytes,
    )


_LOGIT_BYTES = {"float16": 2, "int8": 1}


def _size(name: str) -> ModelSize:
    model = catalogue.find(name)
    return ModelSize(architecture=name, parameters=model.parameters, macs=model.macs, input_size=list(model.input_size))


def _faults(session: Session, settings: Settings, spec: DistillSpec) -> Iterator[Fault]:
    yield from _text_faults(spec.model_dump(mode="json"), ())
    yield from _architecture_fault(spec.student.architecture, "/student/architecture")
    yield from check_uri(session, settings, spec.dataset.uri, "/dataset/uri", DATASET_URIS)
    for index, teacher in enumerate(spec.all_teachers):
        at = "/teacher" if spec.teacher is not None else f"/teachers/{index}"
        if teacher.architecture is not None:
            yield from _architecture_fault(teacher.architecture, f"{at}/architecture")
        yield from check_uri(session, settings, teacher.checkpoint, f"{at}/checkpoint", TEACHER_URIS)
    if spec.student.checkpoint is not None:
        yield from check_uri(session, settings, spec.student.checkpoint, "/student/checkpoint", STUDENT_URIS)


def _deadline_fault(session: Session, deadline: datetime | float | None) -> Iterator[Fault]:
    if isinstance(deadline, datetime) and deadline <= now(session):
        yield DeadlinePassed(), FieldError(pointer="/deadline", detail="The deadline is in the past.")


def _queue_fault(settings: Settings, queue: str | None) -> Iterator[Fault]:
    if queue is not None and queue not in settings.queues:
        message = f"There is no queue {queue!r}. The queues are {', '.join(map(repr, settings.queues))}."
        yield UnknownQueue(message), FieldError(pointer="/queue", detail=message)


def _text_faults(value: Any, path: tuple[str | int, ...]) -> Iterator[Fault]:
    match value:
        case dict():
            for name, part in value.items():
                yield from _text_faults(part, (*path, name))
        case list():
            for index, part in enumerate(value):
                yield from _text_faults(part, (*path, index))
        case str() if any(ord(character) < 32 or ord(character) == 127 for character in value):
            # PostgreSQL rejects NUL, and terminals interpret the others.
            yield InvalidRequest(), FieldError(pointer=pointer(path), detail="Control characters are not allowed.")


def _architecture_fault(name: str, at: str) -> Iterator[Fault]:
    try:
        catalogue.find(name)
    except catalogue.UnknownArchitecture as error:
        message = f"There is no architecture {name!r}."
        if error.nearest:
            message += f" Did you mean {' or '.join(repr(near) for near in error.nearest)}?"
        yield UnknownArchitecture(message), FieldError(pointer=at, detail=message)
