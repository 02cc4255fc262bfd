"""Validation of the uploaded checkpoints of job requests."""

from collections.abc import Iterator, Sequence

from sqlalchemy.orm import Session

from api.http.problems import FieldError, FieldErrors
from api.receiving.inspection import Inspector, UploadedFile
from api.registry.addresses import Fault
from ttm_core.checkpoints.schema import NORMALIZATION_HINT, Inspection, InspectionRequest, OnnxClassifier
from ttm_core.spec import catalogue
from ttm_core.spec.job import DistillSpec, TeacherSpec
from ttm_jobs.errors import Invalid
from ttm_jobs.repositories import uploads
from ttm_jobs.uris import UploadUri, parse_uri


class UnusableCheckpoint(Invalid):
    """The uploaded file cannot be used as this teacher: it is no checkpoint, or does not fit the architecture."""

    code = "unusable_checkpoint"


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
