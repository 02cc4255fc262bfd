"""What is wrong with a spec, as far as it can be told without a worker, and what a job of it would be."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, assert_never

from sqlalchemy.orm import Session

from api.http.errors import InputNotFound, InvalidRequest, pointer
from api.http.problems import FieldError, Refusal
from api.jobs.estimates import estimate
from api.jobs.schemas import Dryrun, JobRequest, ModelSize
from api.registry.resolution import resolve
from ttm_core.spec import catalogue
from ttm_core.spec.job import DistillSpec
from ttm_jobs.database.clock import now
from ttm_jobs.errors import Invalid, JobNotFinished, NotFound, ServiceError, UploadNotComplete, UriNotAllowed
from ttm_jobs.models import UploadState
from ttm_jobs.repositories import uploads
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from ttm_jobs.uris import (
    FileUri,
    HttpUri,
    JobUri,
    S3Uri,
    TimmUri,
    UploadUri,
    Uri,
    check_bucket,
    check_origin,
    local_path,
    parse_uri,
)


class UnknownArchitecture(Invalid):
    """No architecture has this name; the nearest are named."""

    code = "unknown_architecture"


class DeadlinePassed(Invalid):
    """The deadline lies in the past."""

    code = "deadline_passed"


class UnknownQueue(Invalid):
    """The service has no queue of this name."""

    code = "unknown_queue"


Fault = tuple[ServiceError, FieldError]


def check_request(session: Session, settings: Settings, request: JobRequest) -> None:
    """Refusal, with an entry for each fault, if the spec cannot run whatever the worker."""
    faults = [
        *_faults(session, settings, request),
        *_deadline_fault(session, request.deadline),
        *_queue_fault(settings, request.queue),
    ]
    if faults:
        raise Refusal(*faults)


def dry_run(session: Session, settings: Settings, request: JobRequest) -> Dryrun:
    """What a job of this request would be. Refusal, as for the request itself."""
    resolved = resolve(session, request)
    request = resolved.request
    check_request(session, settings, request)
    teachers = [teacher.architecture for teacher in request.all_teachers]
    classes = next((teacher.num_classes for teacher in request.all_teachers if teacher.num_classes), None)
    taken = estimate(session, request)
    return Dryrun(
        spec=request.model_dump(mode="json", include=set(DistillSpec.model_fields)),
        resolved_references=resolved.resolved_references,
        student=_size(request.student.architecture),
        teachers=[_size(name) for name in teachers if name is not None],
        teacher_store_bytes_per_image=None if classes is None else classes * _BYTES_OF_A_LOGIT,
        like=taken and taken.job_id,
        seconds=taken and taken.seconds,
        memory_bytes=taken and taken.memory_bytes,
        disk_bytes=taken and taken.disk_bytes,
    )


# The store keeps logits as float16.
_BYTES_OF_A_LOGIT = 2


def _size(name: str) -> ModelSize:
    model = catalogue.find(name)
    return ModelSize(architecture=name, parameters=model.parameters, macs=model.macs, input_size=list(model.input_size))


def _faults(session: Session, settings: Settings, spec: DistillSpec) -> Iterator[Fault]:
    yield from _text_faults(spec.model_dump(mode="json"), ())
    yield from _architecture_fault(spec.student.architecture, "/student/architecture")
    yield from address_fault(session, settings, spec.dataset.uri, "/dataset/uri", OF_DATASETS)
    for index, teacher in enumerate(spec.all_teachers):
        at = "/teacher" if spec.teacher is not None else f"/teachers/{index}"
        if teacher.architecture is not None:
            yield from _architecture_fault(teacher.architecture, f"{at}/architecture")
        yield from address_fault(session, settings, teacher.checkpoint, f"{at}/checkpoint", OF_TEACHERS)
    if spec.student.checkpoint is not None:
        yield from address_fault(session, settings, spec.student.checkpoint, "/student/checkpoint", _OF_STUDENTS)


def _deadline_fault(session: Session, deadline: datetime | float | None) -> Iterator[Fault]:
    if isinstance(deadline, datetime) and deadline <= now(session):
        yield DeadlinePassed(), FieldError(pointer="/deadline", detail="The deadline lies in the past.")


def _queue_fault(settings: Settings, queue: str | None) -> Iterator[Fault]:
    if queue is not None and queue not in settings.queues:
        message = f"There is no queue {queue!r}. There is {' and '.join(map(repr, settings.queues))}."
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
            # PostgreSQL stores no NUL, and a terminal obeys the others.
            yield InvalidRequest(), FieldError(pointer=pointer(path), detail="Control characters are not allowed.")


def _architecture_fault(name: str, at: str) -> Iterator[Fault]:
    try:
        catalogue.find(name)
    except catalogue.UnknownArchitecture as error:
        message = f"There is no architecture {name!r}."
        if error.nearest:
            message += f" Did you mean {' or '.join(repr(near) for near in error.nearest)}?"
        yield UnknownArchitecture(message), FieldError(pointer=at, detail=message)


OF_DATASETS = (UploadUri, FileUri, HttpUri, S3Uri)
_OF_STUDENTS = (*OF_DATASETS, JobUri)
OF_TEACHERS = (*_OF_STUDENTS, TimmUri)


def address_fault(
    session: Session, settings: Settings, uri: str, at: str, kinds: tuple[type[Uri], ...]
) -> Iterator[Fault]:
    """What is wrong with an address at a place of a spec that takes some kinds of them."""
    try:
        parsed = parse_uri(uri)
        if not isinstance(parsed, kinds):
            raise UriNotAllowed("job: names a checkpoint, and timm: a teacher: neither is read here.")
        _check_there(session, settings, parsed)
    except ServiceError as error:
        # A thing that is named in a spec and missing is a fault of the spec, not of the path of the request.
        fault = InputNotFound(error.message) if isinstance(error, NotFound) else error
        yield fault, FieldError(pointer=at, detail=error.message)


def _check_there(session: Session, settings: Settings, uri: Uri) -> None:
    match uri:
        case UploadUri(upload_id=upload_id):
            if uploads.get(session, upload_id).state is not UploadState.COMPLETE:
                raise UploadNotComplete
        case JobUri(job_id=job_id):
            if crud.get(session, job_id).state is not JobState.SUCCEEDED:
                raise JobNotFinished("The job has not succeeded, so there is no student to start from.")
        case FileUri():
            local_path(uri, settings.data_roots)
        case HttpUri():
            check_origin(uri, settings.allowed_origins)
        case S3Uri():
            check_bucket(uri, settings.allowed_buckets)
        case TimmUri():
            pass  # whether there is such a model is seen by the trainer, which knows timm
        case _:
            assert_never(uri)
