"""Loads a teacher: a frozen model from a checkpoint, with its preprocessing and classes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ttm_core.checkpoints.inspect import find_candidates
from ttm_core.checkpoints.signatures import COUNTER, Signature, depends_on_image_size
from ttm_core.errors import ArchitectureMismatch, BadCheckpoint, BadSpec
from ttm_core.models import build
from ttm_core.models.image_sizes import check_image_size
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.students.metadata import read_structure
from ttm_core.models.teachers.adapt import adapt, signature_of_architecture
from ttm_core.models.teachers.classes import SelectClasses, match_classes, names_in_file, teacher_classes
from ttm_core.models.teachers.fold import fold_batch_norms
from ttm_core.models.teachers.onnx_teacher import ARCHITECTURE, is_onnx, load_onnx_teacher
from ttm_core.models.timm_models import has_fixed_size
from ttm_core.models.weights import check_variances, load_strictly, read_weights
from ttm_core.spec import catalogue
from ttm_core.spec.job import Normalization, TeacherSpec
from ttm_core.spec.structure import MAX_CLASSES, ModelStructure

_LISTED_KEYS = 5


@dataclass(frozen=True)
class Teacher:
    """A frozen model in evaluation mode, with its preprocessing and classes."""

    model: nn.Module
    structure: ModelStructure | None  # None for several teachers
    architecture: str
    num_classes: int
    parameters: int
    class_names: list[str]  # of the logits
    class_map: list[int] | None
    preprocess: Preprocess
    layout: str
    checkpoint_key: str | None = None  # of the model in a file with several
    compiled: bool = False
    weights: Mapping[str, torch.Tensor] | None = None
    """Before batch norms are folded, for a student that starts from them; None if the student does not."""

    @property
    def classes(self) -> int:
        """The number of classes of its logits, equal to that of the dataset."""
        return len(self.class_names)


def load_teacher(
    spec: TeacherSpec, path: Path, *, image_size: int, class_names: list[str], keep_weights: bool = False
) -> Teacher:
    """Loads the teacher of a spec.

    Fields the spec leaves open are read from the file's metadata, then from its tensors, then from the defaults of the
    architecture.

    Args:
        spec: the teacher.
        path: its checkpoint.
        image_size: side of the dataset's images in pixels, for a teacher without an image size.
        class_names: classes of the dataset; empty without labels: the classes are then the teacher's, or those of its
            class map.
        keep_weights: whether the student needs the teacher's weights.

    Raises:
        BadCheckpoint: the file is unsafe, damaged or does not contain weights.
        ArchitectureMismatch: its tensors do not fit the architecture.
        BadSpec: a field of the spec is missing or does not fit the file.
        BadDataset: the classes of the dataset are not among the teacher's.
    """
    if is_onnx(path):
        return _load_onnx(spec, path, image_size, class_names)
    signature = None if spec.architecture is None else signature_of_architecture(spec.architecture)
    weights = read_weights(path, key=spec.checkpoint_key, signature=signature, key_map=spec.key_map)
    metadata = weights.metadata
    saved = read_structure(metadata)
    if spec.output is not None:
        raise BadSpec("teacher.output is for ONNX files. Remove it: files of PyTorch return logits.")
    if saved is not None and saved.image_size is not None and spec.image_size not in (None, saved.image_size):
        raise BadSpec(f"teacher.image_size is {spec.image_size}, but the file says {saved.image_size} pixels.")
    architecture = spec.architecture or (saved.architecture if saved is not None else None)
    if architecture is None:
        raise BadSpec(
            "teacher.architecture is required, because the teacher's file does not name its architecture."
            f"{suggest_architectures(weights.tensors)}"
        )
    cfg = catalogue.find(architecture)
    signature = signature or signature_of_architecture(architecture)
    weights = replace(weights, tensors=adapt(weights.tensors, signature, spec))
    num_classes = _classes(signature, weights.tensors)
    if spec.num_classes not in (None, num_classes):
        raise BadSpec(f"teacher.num_classes is {spec.num_classes}, but the checkpoint has {num_classes} classes.")
    channels = _in_channels(signature, weights.tensors)
    size = (
        (saved and saved.image_size)
        or spec.image_size
        or (cfg.input_size[1] if has_fixed_size(architecture) else image_size)
    )
    normalization = spec.normalization or _normalization(metadata, cfg, channels)
    if len(normalization.mean) != channels:
        raise BadSpec(
            f"teacher.normalization has {len(normalization.mean)} channels, but the teacher has {channels} input "
            "channels."
        )

    teacher_names = names_in_file(metadata.get("class_names"), num_classes)
    class_names = class_names or teacher_classes(num_classes, teacher_names, spec.class_map)
    class_map = match_classes(num_classes, teacher_names, class_names, spec.class_map)
    structure = ModelStructure(
        architecture=architecture,
        num_classes=num_classes,
        in_chans=channels,
        image_size=size,
        pruning=saved.pruning if saved is not None and saved.architecture == architecture else [],
    )
    check_image_size(structure, size, "teacher.image_size")
    model = build(structure)
    try:
        load_strictly(model, weights, architecture)
    except ArchitectureMismatch as error:
        hint = _size_hint(model, weights.tensors, size) or suggest_architectures(weights.tensors)
        raise ArchitectureMismatch(f"{error.message}.{hint}") from error
    check_variances(model)
    model.eval().requires_grad_(False)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    kept = dict(model.state_dict()) if keep_weights else None
    model = fold_batch_norms(model, channels, size)
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return Teacher(
        model=model if class_map is None else SelectClasses(model, class_map),
        structure=structure,
        architecture=architecture,
        num_classes=num_classes,
        parameters=parameters,
        class_names=class_names,
        class_map=class_map,
        preprocess=Preprocess(channels, size, normalization),
        layout=weights.layout,
        checkpoint_key=weights.key,
        weights=kept,
    )


def _load_onnx(spec: TeacherSpec, path: Path, image_size: int, class_names: list[str]) -> Teacher:
    model, found, preprocess = load_onnx_teacher(spec, path, image_size)
    assert found.num_classes is not None, "the file was run"
    names = names_in_file(found.class_names, found.num_classes)
    class_names = class_names or teacher_classes(found.num_classes, names, spec.class_map)
    class_map = match_classes(found.num_classes, names, class_names, spec.class_map)
    return Teacher(
        model=model.eval() if class_map is None else SelectClasses(model.eval(), class_map),
        structure=None,
        architecture=ARCHITECTURE,
        num_classes=found.num_classes,
        parameters=found.parameters,
        class_names=class_names,
        class_map=class_map,
        preprocess=preprocess,
        layout="onnx",
    )


def suggest_architectures(tensors: Mapping[str, torch.Tensor]) -> str:
    """A sentence that names the architectures which the tensors fit completely; empty if there is none."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    fitting = [candidate for candidate in find_candidates(shapes) if candidate.loads]
    if not fitting:
        return ""
    names = " or ".join(candidate.architecture for candidate in fitting[:3])
    mapped = ", with the key_map that `ttm inspect FILE` proposes" if fitting[0].key_map else ""
    return f" Its tensors fit {names}{mapped}."


def _size_hint(model: nn.Module, tensors: Mapping[str, torch.Tensor], size: int) -> str:
    """A sentence for a file that fits except for tensors that depend on the image size; else empty."""
    expected = model.state_dict()
    others = [name for name in expected if name not in tensors or tensors[name].shape != expected[name].shape]
    others += [name for name in tensors if name not in expected]
    if not all(name.endswith(COUNTER) or depends_on_image_size(name) for name in others):
        return ""
    return f" Its images do not have {size} pixels: set teacher.image_size to the size that it was trained with."


def _classes(signature: Signature, tensors: Mapping[str, torch.Tensor]) -> int:
    """The number of rows of the classifier's weight in the file."""
    name = signature.classifier
    weight = None if name is None else tensors.get(f"{name}.weight")
    if weight is None or weight.ndim < 2:
        first = ", ".join(list(tensors)[:_LISTED_KEYS])
        raise ArchitectureMismatch(
            f"The checkpoint has no classifier {name}.weight. Its first keys: {first}.{suggest_architectures(tensors)}"
        )
    if weight.shape[0] > MAX_CLASSES:
        raise ArchitectureMismatch(
            f"The checkpoint has {weight.shape[0]:,} classes; at most {MAX_CLASSES:,} are supported."
        )
    return weight.shape[0]


def _in_channels(signature: Signature, tensors: Mapping[str, torch.Tensor]) -> int:
    """The number of channels of the image, from the first convolution in the file; 3 if the architecture does not name
    it.
    """
    name = f"{signature.first_conv}.weight"
    weight, expected = tensors.get(name), signature.shapes.get(name)
    if weight is None or weight.ndim != 4 or expected is None:
        return 3
    # TResNets turn squares of pixels into channels before the first convolution, 16 for each channel of the image.
    channels = weight.shape[1] * 3 // max(expected[1], 3)
    if channels not in (1, 3):
        raise ArchitectureMismatch(
            f"The teacher takes images with {channels} channels. Supported are 1 (gray) and 3 (RGB)."
        )
    return channels


def _normalization(metadata: Mapping[str, Any], cfg: catalogue.Architecture, channels: int) -> Normalization:
    saved = metadata.get("normalization")
    if isinstance(saved, dict):
        try:
            return Normalization.model_validate(saved)
        except ValueError as error:
            raise BadCheckpoint("The metadata of the checkpoint has an invalid normalization.") from error
    mean, std = list(cfg.mean), list(cfg.std)
    if channels == 1:
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    return Normalization(mean=mean, std=std)
