"""Validation of the uploaded checkpoints of job requests."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.http.problems import FieldError, FieldErrors
from api.jobs.validation.request import origin_fault
from api.receiving.inspection import Inspector, UploadedFile
from api.registry.addresses import Fault
from ttm_core.checkpoints.onnx_fields import unfit_fields
from ttm_core.checkpoints.schema import Candidate, Inspection, InspectionRequest
from ttm_core.checkpoints.signatures import depends_on_image_size
from ttm_core.errors import one_output
from ttm_core.spec import catalogue
from ttm_core.spec.job import DistillSpec, StudentSpec, TeacherSpec
from ttm_jobs.errors import Invalid
from ttm_jobs.repositories import uploads
from ttm_jobs.uris import UploadUri, parse_uri

# A backbone without its classifier has all other tensors.
_LEAST_SCORE = 0.5


class UnusableCheckpoint(Invalid):
    """The uploaded file cannot be used for this model: it is no checkpoint, or does not fit the architecture."""

    code = "unusable_checkpoint"


@dataclass(frozen=True)
class UploadedFiles:
    """The files of a job's checkpoints; None for one that is not an upload."""

    teachers: Sequence[UploadedFile | None]
    student: UploadedFile | None


def uploaded_files(session: Session, spec: DistillSpec) -> UploadedFiles:
    """The files of a job's checkpoints. Raises UploadNotFound and UploadNotComplete."""
    return UploadedFiles(
        [uploaded_file(session, teacher.checkpoint) for teacher in spec.all_teachers],
        None if spec.student.checkpoint is None else uploaded_file(session, spec.student.checkpoint),
    )


def uploaded_file(session: Session, checkpoint: str) -> UploadedFile | None:
    """The file of a checkpoint; None if it is not an upload. Raises UploadNotFound and UploadNotComplete."""
    uri = parse_uri(checkpoint)
    if not isinstance(uri, UploadUri):
        return None
    upload = uploads.get(session, uri.upload_id)
    return UploadedFile.of(upload, uploads.object_keys(session, upload))


def check_checkpoints(inspector: Inspector, spec: DistillSpec, files: UploadedFiles) -> list[Inspection | None]:
    """Inspects the files of teachers and student. Takes seconds, so call it without a database connection.

    A file whose names and shapes equal those of an architecture runs: every architecture of the catalogue has been run.
    An ONNX file runs once in a reader process if its size is known.

    Returns:
        What the teachers' files are.

    Raises:
        FieldErrors: a file cannot be used as the spec says; each error says what to change.
    """
    found: list[Inspection | None] = []
    faults: list[Fault] = []
    for index, (teacher, file) in enumerate(zip(spec.all_teachers, files.teachers, strict=True)):
        at = "/teacher" if spec.teacher is not None else f"/teachers/{index}"
        if file is None:
            found.append(None)
            continue
        inspection, unfit = _teacher(inspector, teacher, file, at, spec.student.image_size)
        found.append(inspection)
        if teacher.architecture is not None and _is_packaged(teacher.architecture):
            continue
        faults += _unusable(unfit)
        faults += _requirement_faults(spec, inspection)
    if files.student is not None:
        student = spec.student
        request = InspectionRequest(
            architecture=student.architecture, key_map=None, checkpoint_key=student.checkpoint_key
        )
        faults += _unusable(_student_faults(student, inspector.inspect(files.student, request)))
    if faults:
        raise FieldErrors(*faults)
    return found


def check_study_teacher(inspector: Inspector, teacher: TeacherSpec, file: UploadedFile) -> None:
    """Inspects the file of a study's teacher. Call it without a database connection. Raises FieldErrors."""
    _, faults = _teacher(inspector, teacher, file, "/teacher", None)
    if faults and not (teacher.architecture is not None and _is_packaged(teacher.architecture)):
        raise FieldErrors(*_unusable(faults))


def _teacher(
    inspector: Inspector, teacher: TeacherSpec, file: UploadedFile, at: str, student_size: int | None
) -> tuple[Inspection, list[FieldError]]:
    """What a teacher's file is, and its errors."""
    inspection = inspector.inspect(
        file,
        InspectionRequest(
            architecture=teacher.architecture,
            key_map=teacher.key_map,
            checkpoint_key=teacher.checkpoint_key,
            image_size=teacher.image_size or student_size,
        ),
    )
    return inspection, list(_checkpoint_faults(teacher, inspection, at))


def _is_packaged(architecture: str) -> bool:
    """Whether an architecture is one of a package. The worker compares its tensors."""
    return not catalogue.has(architecture.partition(".")[0])


def _unusable(faults: Iterable[FieldError]) -> Iterator[Fault]:
    for fault in faults:
        yield UnusableCheckpoint(fault.detail), fault


def _requirement_faults(spec: DistillSpec, teacher: Inspection) -> Iterator[Fault]:
    """The errors of a method and a student that need more of the teacher than its file has."""
    field = spec.student.from_teacher
    if teacher.onnx is None:
        named = spec.teacher is not None and spec.teacher.architecture
        if not named and teacher.architecture is not None:
            yield from origin_fault(spec, teacher.architecture, {})
        return
    details = {}
    if spec.method.requirements.teacher_layers:
        details["/method"] = (
            f"Method {spec.method.kind!r} with these options needs layers of the teacher, which ONNX files lack. Use a "
            "method that learns from logits, or upload the teacher's weights."
        )
    if field is not None:
        details[f"/student/{field}"] = (
            "The layers of an ONNX teacher are not accessible. Set student.architecture instead, or upload "
            "the teacher's weights."
        )
    yield from _unusable(FieldError(pointer=pointer, detail=detail) for pointer, detail in details.items())


def _student_faults(student: StudentSpec, found: Inspection) -> Iterator[FieldError]:
    """The errors of a file of initial weights. Its classifier need not fit."""
    if found.problem is not None:
        yield _problem(found.problem, "/student")
    elif found.onnx is not None:
        detail = "A student cannot start with an ONNX file. Upload weights of PyTorch or safetensors."
        yield FieldError(pointer="/student/checkpoint", detail=detail)
    elif student.architecture is None and found.architecture is None:
        yield _missing_architecture("student", found)
    elif not found.pruned and (student.architecture is None or not _is_packaged(student.architecture)):
        architecture = student.architecture or found.architecture
        chosen = found.candidates[0] if found.candidates else None
        resized = chosen is not None and _is_resized(chosen)
        if (
            chosen is None
            or chosen.key_map is not None
            or (chosen.mismatched_count and not resized)
            or chosen.score < _LEAST_SCORE
        ):
            names = _fitting(found)
            hint = f" The tensors fit {names}." if names else ""
            detail = f"The checkpoint does not have the tensors of {architecture}.{hint}"
            yield FieldError(pointer="/student/architecture", detail=detail)
        elif resized and student.image_size is None and found.architecture is None:
            yield _missing_size("/student/image_size", chosen)


def _checkpoint_faults(teacher: TeacherSpec, inspection: Inspection, at: str) -> Iterator[FieldError]:
    if inspection.problem is not None:
        yield _problem(inspection.problem, at)
        return
    if inspection.onnx is not None:
        for name, message in unfit_fields(teacher, inspection.onnx):
            yield FieldError(pointer=f"{at}/{name}", detail=message)
        return
    if teacher.output is not None:
        yield FieldError(pointer=f"{at}/output", detail="This field is for ONNX files: remove it.")
    architecture = teacher.architecture or inspection.architecture
    names = _fitting(inspection)
    if architecture is None:
        yield _missing_architecture(at[1:].replace("/", "."), inspection)
        return
    if inspection.pruned and architecture == inspection.architecture:
        return
    chosen = inspection.candidates[0] if inspection.candidates else None
    resized = chosen is not None and not chosen.missing_count and not chosen.unexpected_count and _is_resized(chosen)
    if chosen is None or chosen.architecture != architecture.partition(".")[0]:
        yield FieldError(pointer=f"{at}/architecture", detail=f"The checkpoint has no tensors of {architecture}.")
    elif resized and teacher.image_size is None and inspection.architecture is None:
        yield _missing_size(f"{at}/image_size", chosen)
    elif not chosen.loads and not resized:
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
    elif chosen.num_classes == 1:
        yield FieldError(pointer=f"{at}/checkpoint", detail=one_output("teacher"))
    elif teacher.num_classes not in (None, chosen.num_classes):
        yield FieldError(pointer=f"{at}/num_classes", detail=f"The checkpoint has {chosen.num_classes} classes.")


def _is_resized(candidate: Candidate) -> bool:
    """Whether the file is for another image size: only tensors that depend on it have other shapes.

    The worker compares these with the architecture for the image size of the spec or of the file.
    """
    return candidate.mismatched_count > 0 and all(map(depends_on_image_size, candidate.mismatched))


def _missing_size(pointer: str, candidate: Candidate) -> FieldError:
    return FieldError(
        pointer=pointer,
        detail=f"The checkpoint is a {candidate.architecture} for images of another size than the default of "
        f"{candidate.input_size[-1]} pixels. Set this field to the size that it was trained with.",
    )


def _problem(problem: str, at: str) -> FieldError:
    field = next((name for name in ("key_map", "checkpoint_key") if problem.startswith(name)), "checkpoint")
    return FieldError(pointer=f"{at}/{field}", detail=problem)


def _missing_architecture(model: str, inspection: Inspection) -> FieldError:
    """`model` is a path in the spec, such as `teachers.0`."""
    names = _fitting(inspection)
    hint = f"The tensors fit {names}." if names else "POST /uploads/{id}/inspect lists the most similar ones."
    return FieldError(
        pointer=f"/{model.replace('.', '/')}/architecture",
        detail=f"{model}.architecture is required, because the file does not name its architecture. {hint}",
    )


def _fitting(inspection: Inspection) -> str:
    """The architectures that load the file as it is, at most three."""
    loading = [candidate for candidate in inspection.candidates if candidate.loads and candidate.key_map is None]
    return " or ".join(candidate.architecture for candidate in loading[:3])
