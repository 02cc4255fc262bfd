"""Determines the architecture that the student starts from, and what its initial weights require."""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError
from timm.models import get_pretrained_cfg

from ttm_core.data.cache import DataCache
from ttm_core.errors import BadCheckpoint, BadSpec
from ttm_core.models.hub.published import fetch, is_published
from ttm_core.models.students.metadata import read_structure
from ttm_core.models.teachers.adapt import signature_of_architecture
from ttm_core.models.teachers.onnx_teacher import is_onnx
from ttm_core.models.timm_models import has_fixed_size, timm_name
from ttm_core.models.weights import Weights, read_metadata, read_weights
from ttm_core.pipeline.inputs import Inputs
from ttm_core.spec import catalogue
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.normalization import Normalization
from ttm_core.spec.structure import ModelStructure, PruningStep
from ttm_core.spec.student import prunable


@dataclass(frozen=True)
class StudentBase:
    """The model that the student starts from. None where its weights leave a value open."""

    architecture: str
    checkpoint: Path | None = None
    image_size: int | None = None
    in_chans: int | None = None
    normalization: Normalization | None = None
    pruning: list[PruningStep] = field(default_factory=list)


def student_base(spec: DistillSpec, inputs: Inputs, cache: DataCache) -> StudentBase:
    """The architecture named by the spec, by the checkpoint or, for a student made of its teacher, by the teacher.

    Raises:
        BadSpec: the architecture is unknown, or the teacher cannot be pruned.
        BadCheckpoint: a file cannot be read.
        HubUnreachable: published weights cannot be downloaded.
    """
    if spec.student.from_teacher is not None:
        return _of_teacher(spec, inputs, cache)
    if spec.student.checkpoint is not None:
        return _of_checkpoint(spec, spec.student.checkpoint, inputs.student, cache)
    assert spec.student.architecture is not None, "the spec guarantees an architecture"
    return StudentBase(spec.student.architecture)


def resolved_architecture(spec: DistillSpec, base: StudentBase) -> str | None:
    """The architecture in the resolved spec; None for a pruned student, which has no name."""
    return None if spec.student.prune is not None else base.architecture


def _of_checkpoint(spec: DistillSpec, uri: str, path: Path | None, cache: DataCache) -> StudentBase:
    name = spec.student.architecture
    if is_published(uri):
        found = fetch(uri, cache, field="student.checkpoint")
        architecture = name or found.architecture
        row = catalogue.find(architecture)
        return StudentBase(
            architecture,
            found.path,
            image_size=row.input_size[1] if has_fixed_size(architecture) else None,
            in_chans=_channels(architecture, read_weights(found.path)),
            normalization=found.normalization,
        )
    assert path is not None, "the worker resolves all other URIs"
    if is_onnx(path):
        raise BadCheckpoint(
            "student.checkpoint is an ONNX file, which a student cannot start with. Use weights of PyTorch or "
            "safetensors."
        )
    weights = read_weights(
        path,
        key=spec.student.checkpoint_key,
        signature=None if name is None else signature_of_architecture(name),
        needs_classifier=False,
    )
    saved = read_structure(weights.metadata)
    if saved is None or name not in (None, saved.architecture):
        if name is None:
            raise BadSpec("student.architecture is required, because the student's checkpoint does not name it.")
        return StudentBase(name, path, in_chans=_channels(name, weights))
    return StudentBase(
        saved.architecture,
        path,
        image_size=saved.image_size if has_fixed_size(saved.architecture) else None,
        in_chans=saved.in_chans,
        normalization=_saved_normalization(weights.metadata.get("normalization"), saved.in_chans),
        pruning=saved.pruning,
    )


def _of_teacher(spec: DistillSpec, inputs: Inputs, cache: DataCache) -> StudentBase:
    teacher, saved = _teacher_architecture(spec, inputs, cache)
    architecture = spec.student.architecture
    if architecture is None:
        architecture = teacher
        if (reason := prunable.obstacle(architecture)) is not None:
            raise BadSpec(f"student.prune: {reason}")
    if not has_fixed_size(architecture):
        return StudentBase(architecture)
    assert spec.teacher is not None, "the spec guarantees one teacher for a student that is made of it"
    size = (saved and saved.image_size) or spec.teacher.image_size or catalogue.find(teacher).input_size[1]
    return StudentBase(architecture, image_size=size)


def _teacher_architecture(spec: DistillSpec, inputs: Inputs, cache: DataCache) -> tuple[str, ModelStructure | None]:
    """The teacher's architecture, and its structure if its file describes it."""
    assert spec.teacher is not None, "the spec guarantees one teacher for a student that is made of it"
    path = inputs.teachers[0]
    if path is not None and is_onnx(path):
        raise BadSpec(f"student.{spec.student.from_teacher}: the layers of an ONNX teacher are not accessible.")
    if path is None:
        published = fetch(spec.teacher.checkpoint, cache, field="teacher.checkpoint")
        return spec.teacher.architecture or published.architecture, None
    saved = read_structure(read_metadata(path))
    architecture = spec.teacher.architecture or (saved.architecture if saved is not None else None)
    if architecture is None:
        raise BadSpec("teacher.architecture is required, because the teacher's file does not name its architecture.")
    return architecture, saved


def _channels(architecture: str, weights: Weights) -> int | None:
    """The input channels of the first convolution in a file: 1 or 3; None if it is unknown or another number."""
    configuration = get_pretrained_cfg(timm_name(architecture))
    first = configuration.first_conv if configuration is not None else None
    weight = weights.tensors.get(f"{first}.weight") if isinstance(first, str) else None
    channels = weight.shape[1] if weight is not None and weight.ndim == 4 else None
    return channels if channels in (1, 3) else None


def _saved_normalization(saved: object, channels: int) -> Normalization | None:
    try:
        found = Normalization.model_validate(saved)
    except ValidationError:
        return None
    return found if len(found.mean) == channels else None
