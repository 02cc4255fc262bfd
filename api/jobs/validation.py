"""Validation of job requests and their uploaded checkpoints without a worker, and dry runs."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from api.architectures import installed
from api.http.errors import InvalidRequest
from api.http.field_errors import pointer
from api.http.problems import FieldError, FieldErrors
from api.jobs.estimates import estimate
from api.jobs.schemas import Dryrun, JobRequest, ModelSize
from api.receiving.inspection import Inspector, UploadedFile
from api.registry.addresses import MODEL_URIS, Fault, check_uri, dataset_faults
from api.registry.resolution import Resolved
from ttm_core.checkpoints.schema import NORMALIZATION_HINT, Inspection, InspectionRequest, OnnxClassifier
from ttm_core.spec import catalogue
from ttm_core.spec.catalogue import Architecture
from ttm_core.spec.job import DistillSpec, TeacherSpec
from ttm_core.spec.student import prunable
from ttm_jobs.database.clock import now
from ttm_jobs.errors import Invalid, ServiceError
from ttm_jobs.repositories import uploads
from ttm_jobs.settings import Settings
from ttm_jobs.uris import UploadUri, parse_uri


class UnknownArchitecture(Invalid):
    """There is no such architecture. The message suggests similar names."""

    code = "unknown_architecture"


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


class UnusableCheckpoint(Invalid):
    """The uploaded file cannot be used as this teacher: it is no checkpoint, or does not fit the architecture."""

    code = "unusable_checkpoint"


def check_request(session: Session, settings: Settings, request: JobRequest) -> None:
    """Raises FieldErrors with all errors of the request that can be detected without a worker."""
    faults = [
        *_faults(session, settings, request),
        *deadline_fault(session, request.deadline),
        *queue_fault(settings, request.queue),
    ]
    if faults:
        raise FieldErrors(*faults)


def dry_run(session: Session, settings: Settings, resolved: Resolved[JobRequest]) -> Dryrun:
    """The result of a dry run. Raises the same FieldErrors as a submission."""
    request = resolved.request
    check_request(session, settings, request)
    teachers = [teacher.architecture for teacher in request.all_teachers]
    packaged = installed.for_names(session, settings, [request.student.architecture, *teachers])
    classes = next((teacher.num_classes for teacher in request.all_teachers if teacher.num_classes), None)
    logits = None if classes is None else classes * len(request.all_teachers)
    similar = estimate(session, request)
    return Dryrun(
        spec=request.model_dump(mode="json", include=set(DistillSpec.model_fields)),
        resolved_references=resolved.resolved_references,
        student=_student_size(request, packaged),
        teachers=[_size(name, packaged) for name in teachers if name is not None],
        teacher_store_bytes_per_image=logits and logits * _LOGIT_BYTES[request.training.stored_as],
        similar_job=similar and similar.job_id,
        seconds=similar and similar.seconds,
        memory_bytes=similar and similar.memory_bytes,
        disk_bytes=similar and similar.disk_bytes,
    )


_LOGIT_BYTES = {"float16": 2, "int8": 1}


def _size(name: str, packaged: Mapping[str, Architecture]) -> ModelSize:
    model = catalogue.find(name, packaged)
    return ModelSize(architecture=name, parameters=model.parameters, macs=model.macs, input_size=list(model.input_size))


def _student_size(request: JobRequest, packaged: Mapping[str, Architecture]) -> ModelSize | None:
    """The student's size. That of a pruned student is the target, computed from its teacher's."""
    student = request.student
    if student.named_architecture is not None:
        return _size(student.named_architecture, packaged)
    if request.teacher is None or student.prune is None:
        return None
    teacher = request.teacher.named_architecture
    if teacher is None:
        return None
    whole = _size(teacher, packaged)
    return ModelSize(
        architecture=teacher,
        parameters=_share(whole.parameters, student.prune.parameters),
        macs=_share(whole.macs, student.prune.macs),
        input_size=whole.input_size,
    )


def _share(number: int | None, share: float | None) -> int | None:
    return None if number is None or share is None else round(number * share)


def _faults(session: Session, settings: Settings, spec: DistillSpec) -> Iterator[Fault]:
    yield from text_faults(spec.model_dump(mode="json"), ())
    named = [spec.student.architecture, *(teacher.architecture for teacher in spec.all_teachers)]
    packaged = installed.for_names(session, settings, named)
    if spec.student.architecture is not None:
        yield from architecture_fault(spec.student.architecture, "/student/architecture", packaged)
    yield from dataset_faults(session, settings, spec.dataset)
    for index, teacher in enumerate(spec.all_teachers):
        at = "/teacher" if spec.teacher is not None else f"/teachers/{index}"
        if teacher.architecture is not None:
            yield from architecture_fault(teacher.architecture, f"{at}/architecture", packaged)
        yield from check_uri(session, settings, teacher.checkpoint, f"{at}/checkpoint", MODEL_URIS)
    yield from _origin_fault(spec, packaged)
    if spec.student.checkpoint is not None:
        yield from check_uri(session, settings, spec.student.checkpoint, "/student/checkpoint", MODEL_URIS)


def _origin_fault(spec: DistillSpec, packaged: Mapping[str, Architecture]) -> Iterator[Fault]:
    """The error of a student that cannot be made of the teacher. The run checks teachers of unknown architecture."""
    field = spec.student.from_teacher
    if field is None or spec.teacher is None:
        return
    teacher = spec.teacher.named_architecture
    if teacher is None:
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
        case str() if any(ord(character) < 32 or ord(character) == 127 for character in value):
            # PostgreSQL rejects NUL, and terminals interpret the others.
            yield InvalidRequest(), FieldError(pointer=pointer(path), detail="Control characters are not allowed.")


def architecture_fault(name: str, at: str, packaged: Mapping[str, Architecture]) -> Iterator[Fault]:
    """The error of a name that neither the catalogue nor `packaged`, those that workers have installed, contains."""
    try:
        catalogue.find(name, packaged)
    except catalogue.UnknownArchitecture as error:
        message = f"There is no architecture {name!r}, and no running worker has a package with it."
        if error.nearest:
            message += f" Did you mean {' or '.join(repr(near) for near in error.nearest)}?"
        yield UnknownArchitecture(message), FieldError(pointer=at, detail=message)


def uploaded_teachers(session: Session, spec: DistillSpec) -> list[UploadedFile | None]:
    """The file of each teacher; None for one that is not an upload. Raises UploadNotFound and UploadNotComplete."""
    files: list[UploadedFile | None] = []
    for teacher in spec.all_teachers:
        uri = parse_uri(teacher.checkpoint)
        if isinstance(uri, UploadUri):
            upload = uploads.get(session, uri.upload_id)
            files.append(UploadedFile.of(upload, uploads.object_keys(session, upload)))
        else:
            files.append(None)
    return files


def check_teachers(
    inspector: Inspector, spec: DistillSpec, files: Sequence[UploadedFile | None]
) -> list[Inspection | None]:
    """Inspects the teachers' files. Takes seconds, so call it without a database connection.

    A file whose names and shapes equal those of an architecture runs: every architecture of the catalogue has been run.

    Raises:
        FieldErrors: a file cannot be used as the spec says; each error says what to change.
    """
    found: list[Inspection | None] = []
    faults: list[Fault] = []
    for index, (teacher, file) in enumerate(zip(spec.all_teachers, files, strict=True)):
        at = "/teacher" if spec.teacher is not None else f"/teachers/{index}"
        if file is None:
            found.append(None)
            continue
        inspection = inspector.inspect(
            file,
            InspectionRequest(
                architecture=teacher.architecture, key_map=teacher.key_map, checkpoint_key=teacher.checkpoint_key
            ),
        )
        found.append(inspection)
        if teacher.architecture is not None and not catalogue.has(teacher.architecture.partition(".")[0]):
            continue  # the architecture of a package: its worker compares the tensors
        faults += [(UnusableCheckpoint(fault.detail), fault) for fault in _checkpoint_faults(teacher, inspection, at)]
        if inspection.kind == "onnx" and spec.method.requirements.features != "none":
            detail = f"Method {spec.method.kind!r} with these options needs features, which ONNX files lack."
            faults.append((UnusableCheckpoint(detail), FieldError(pointer="/method", detail=detail)))
    if faults:
        raise FieldErrors(*faults)
    return found


def _checkpoint_faults(teacher: TeacherSpec, inspection: Inspection, at: str) -> Iterator[FieldError]:
    if inspection.problem is not None:
        named = ("key_map", "checkpoint_key")
        field = next((name for name in named if inspection.problem.startswith(name)), "checkpoint")
        yield FieldError(pointer=f"{at}/{field}", detail=inspection.problem)
        return
    if inspection.onnx is not None:
        yield from _onnx_faults(teacher, inspection.onnx, at)
        return
    architecture = teacher.architecture or inspection.architecture
    loading = [candidate for candidate in inspection.candidates if candidate.loads and candidate.key_map is None]
    names = " or ".join(candidate.architecture for candidate in loading[:3])
    if architecture is None:
        hint = f"The tensors fit {names}." if names else "POST /uploads/{id}/inspect lists the most similar ones."
        yield FieldError(
            pointer=f"{at}/architecture",
            detail=f"teacher.architecture is required, because the file does not name its architecture. {hint}",
        )
        return
    if inspection.pruned and architecture == inspection.architecture:
        return
    chosen = inspection.candidates[0] if inspection.candidates else None
    if chosen is None or chosen.architecture != architecture.partition(".")[0]:
        yield FieldError(pointer=f"{at}/architecture", detail=f"The checkpoint has no tensors of {architecture}.")
    elif not chosen.loads:
        counts = (
            (chosen.missing_count, "missing", chosen.missing),
            (chosen.unexpected_count, "unexpected", chosen.unexpected),
            (chosen.mismatched_count, "of another shape", chosen.mismatched),
        )
        parts = [f"{count} tensors {kind} ({', '.join(listed[:3])})" for count, kind, listed in counts if count]
        hint = f" The tensors fit {names}." if names else ""
        yield FieldError(
            pointer=f"{at}/architecture", detail=f"The checkpoint is not a {architecture}: {'; '.join(parts)}.{hint}"
        )
    elif chosen.key_map is not None:
        yield FieldError(
            pointer=f"{at}/key_map",
            detail=f"The checkpoint has the shapes of {architecture} under other names. Set teacher.key_map to the map "
            "that POST /uploads/{id}/inspect proposes.",
        )
    elif teacher.num_classes not in (None, chosen.num_classes):
        yield FieldError(pointer=f"{at}/num_classes", detail=f"The checkpoint has {chosen.num_classes} classes.")


def _onnx_faults(teacher: TeacherSpec, found: OnnxClassifier, at: str) -> Iterator[FieldError]:
    for name in ("architecture", "key_map", "checkpoint_key"):
        if getattr(teacher, name) is not None:
            yield FieldError(pointer=f"{at}/{name}", detail="ONNX files hold their own graph: remove this field.")
    if teacher.normalization is None and found.pixels is None:
        yield FieldError(
            pointer=f"{at}/normalization",
            detail=f"The ONNX file does not seem to normalize its input. {NORMALIZATION_HINT}",
        )
    if found.num_classes is not None and teacher.num_classes not in (None, found.num_classes):
        yield FieldError(pointer=f"{at}/num_classes", detail=f"The ONNX file returns {found.num_classes} classes.")
