"""Validation of job requests without a worker and without their files."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from api.architectures import installed
from api.http.errors import InputNotFound, InvalidRequest
from api.http.field_errors import pointer
from api.http.problems import FieldError, FieldErrors
from api.http.types import has_no_controls
from api.jobs.schemas import JobRequest
from api.registry.addresses import MODEL_URIS, Fault, check_uri, dataset_faults
from ttm_core.spec import catalogue
from ttm_core.spec.catalogue import Architecture
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.student import prunable
from ttm_jobs.database.clock import now
from ttm_jobs.errors import Invalid, JobNotFinished, ServiceError, UploadNotComplete, UriNotAllowed
from ttm_jobs.settings import Settings


class UnknownArchitecture(Invalid):
    """There is no such architecture. The message suggests similar names."""

    code = "unknown_architecture"


class ImagesTooSmall(Invalid):
    """The architecture cannot process images of this size."""

    code = "images_too_small"


class NotPrunable(Invalid):
    """The teacher's architecture cannot be pruned."""

    code = "not_prunable"


class OtherFamily(Invalid):
    """The student cannot take weights of a teacher of another family."""

    code = "other_family"


class DeadlinePassed(Invalid):
    """The deadline is in the past."""

    code = "deadline_passed"


class UnknownQueue(Invalid):
    """The service has no queue with this name."""

    code = "unknown_queue"


SPEC_ERRORS = (
    InvalidRequest,
    UnknownArchitecture,
    UriNotAllowed,
    InputNotFound,
    DeadlinePassed,
    UnknownQueue,
    ImagesTooSmall,
    NotPrunable,
    OtherFamily,
    JobNotFinished,
    UploadNotComplete,
)
"""The errors of a job's or a study's spec that are detected without a worker."""


def check_request(session: Session, settings: Settings, request: JobRequest) -> None:
    """Raises FieldErrors with all errors of the request that can be detected without a worker."""
    faults = [
        *_faults(session, settings, request),
        *deadline_fault(session, request.deadline),
        *queue_fault(settings, request.queue),
    ]
    if faults:
        raise FieldErrors(*faults)


def _faults(session: Session, settings: Settings, spec: DistillSpec) -> Iterator[Fault]:
    yield from text_faults(spec.model_dump(mode="json"), ())
    named = [spec.student.architecture, *(teacher.architecture for teacher in spec.all_teachers)]
    packaged = installed.for_names(session, settings, named)
    yield from model_faults(spec.student.architecture, spec.student.image_size, "/student", packaged)
    yield from dataset_faults(session, settings, spec.dataset)
    for index, teacher in enumerate(spec.all_teachers):
        at = "/teacher" if spec.teacher is not None else f"/teachers/{index}"
        yield from model_faults(teacher.architecture, teacher.image_size, at, packaged)
        yield from check_uri(session, settings, teacher.checkpoint, f"{at}/checkpoint", MODEL_URIS)
    if spec.teacher is not None and spec.teacher.named_architecture is not None:
        yield from origin_fault(spec, spec.teacher.named_architecture, packaged)
    if spec.student.checkpoint is not None:
        yield from check_uri(session, settings, spec.student.checkpoint, "/student/checkpoint", MODEL_URIS)


def origin_fault(spec: DistillSpec, teacher: str, packaged: Mapping[str, Architecture]) -> Iterator[Fault]:
    """The error of a student that cannot be made of a teacher with the architecture `teacher`."""
    field = spec.student.from_teacher
    if field is None:
        return
    try:
        error = _obstacle(teacher, spec.student.architecture, packaged)
    except catalogue.UnknownArchitecture:
        return  # reported for the field that names it
    if error is not None:
        yield error, FieldError(pointer=f"/student/{field}", detail=error.message)


def _obstacle(teacher: str, student: str | None, packaged: Mapping[str, Architecture]) -> ServiceError | None:
    """Why a student of this architecture, or cut out of the teacher for None, cannot be made of the teacher."""
    if student is None:
        # The run checks architectures of packages.
        reason = None if teacher in packaged else prunable.obstacle(teacher)
        return None if reason is None else NotPrunable(reason)
    families = [catalogue.find(name, packaged).key for name in (student, teacher)]
    if families[0] == families[1]:
        return None
    return OtherFamily(
        f"{student} cannot take weights of the teacher {teacher}, which is of another family. Choose a student of the "
        f"family {families[1]}, or omit the field."
    )


def deadline_fault(session: Session, deadline: datetime | float | None) -> Iterator[Fault]:
    if isinstance(deadline, datetime) and deadline <= now(session):
        yield DeadlinePassed(), FieldError(pointer="/deadline", detail="The deadline is in the past.")


def queue_fault(settings: Settings, queue: str | None) -> Iterator[Fault]:
    if queue is not None and queue not in settings.queues:
        message = f"There is no queue {queue!r}. The queues are {', '.join(map(repr, settings.queues))}."
        yield UnknownQueue(message), FieldError(pointer="/queue", detail=message)


def text_faults(value: Any, path: tuple[str | int, ...]) -> Iterator[Fault]:
    match value:
        case dict():
            for name, part in value.items():
                yield from text_faults(part, (*path, name))
        case list():
            for index, part in enumerate(value):
                yield from text_faults(part, (*path, index))
        case str() if not has_no_controls(value):
            # PostgreSQL rejects NUL, and terminals interpret the others.
            yield InvalidRequest(), FieldError(pointer=pointer(path), detail="Control characters are not allowed.")


def model_faults(
    architecture: str | None, image_size: int | None, at: str, packaged: Mapping[str, Architecture]
) -> Iterator[Fault]:
    """The errors of a student or teacher in the field `at`: an unknown architecture, or images too small for it."""
    if architecture is None:
        return
    unknown = list(architecture_fault(architecture, f"{at}/architecture", packaged))
    yield from unknown
    if unknown or image_size is None:
        return
    least = catalogue.find(architecture, packaged).min_size
    if image_size < least:
        message = f"{architecture} cannot process images of {image_size} x {image_size} pixels. Use {least} or more."
        yield ImagesTooSmall(message), FieldError(pointer=f"{at}/image_size", detail=message)


def architecture_fault(name: str, at: str, packaged: Mapping[str, Architecture]) -> Iterator[Fault]:
    """The error of a name that neither the catalogue nor `packaged`, those that workers have installed, contains."""
    try:
        catalogue.find(name, packaged)
    except catalogue.UnknownArchitecture as error:
        message = f"There is no architecture {name!r}, and no running worker has a package with it."
        if error.nearest:
            message += f" Did you mean {' or '.join(repr(near) for near in error.nearest)}?"
        yield UnknownArchitecture(message), FieldError(pointer=at, detail=message)
