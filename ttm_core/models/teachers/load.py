"""Loads a teacher: a frozen model from a checkpoint, with its preprocessing and classes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ttm_core.errors import ArchitectureMismatch, BadCheckpoint, BadSpec
from ttm_core.models import build
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.students.metadata import read_structure
from ttm_core.models.teachers.adapt import adapt, signature_of_architecture
from ttm_core.models.teachers.classes import SelectClasses, match_classes, names_in_file, teacher_classes
from ttm_core.models.teachers.fold import fold_batch_norms
from ttm_core.models.teachers.onnx_teacher import ARCHITECTURE, is_onnx, load_onnx_teacher
from ttm_core.models.teachers.structure import architecture_of, size_hint, structure_of, suggest_architectures
from ttm_core.models.weights import Weights, check_variances, load_strictly, read_weights
from ttm_core.spec import catalogue
from ttm_core.spec.job import Normalization, TeacherSpec
from ttm_core.spec.structure import ModelStructure


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
    if spec.output is not None:
        raise BadSpec("teacher.output is for ONNX files. Remove it: files of PyTorch return logits.")
    signature = None if spec.architecture is None else signature_of_architecture(spec.architecture)
    weights = read_weights(path, key=spec.checkpoint_key, signature=signature, key_map=spec.key_map)
    saved = read_structure(weights.metadata)
    architecture = architecture_of(spec, saved, weights.tensors)
    signature = signature or signature_of_architecture(architecture)
    weights = replace(weights, tensors=adapt(weights.tensors, signature, spec))
    structure = structure_of(spec, saved, architecture, signature, weights.tensors, image_size)
    preprocess = _preprocess(spec, weights.metadata, structure)
    names = names_in_file(weights.metadata.get("class_names"), structure.num_classes)
    class_names = class_names or teacher_classes(structure.num_classes, names, spec.class_map)
    class_map = match_classes(structure.num_classes, names, class_names, spec.class_map)
    model = _frozen(structure, preprocess.image_size, weights)
    kept = dict(model.state_dict()) if keep_weights else None
    parameters = sum(parameter.numel() for parameter in model.parameters())
    model = fold_batch_norms(model, structure.in_chans, preprocess.image_size)
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return Teacher(
        model=model if class_map is None else SelectClasses(model, class_map),
        structure=structure,
        architecture=architecture,
        num_classes=structure.num_classes,
        parameters=parameters,
        class_names=class_names,
        class_map=class_map,
        preprocess=preprocess,
        layout=weights.layout,
        checkpoint_key=weights.key,
        weights=kept,
    )


def _frozen(structure: ModelStructure, size: int, weights: Weights) -> nn.Module:
    """The model in evaluation mode with the weights, without gradients."""
    model = build(structure)
    try:
        load_strictly(model, weights, structure.architecture)
    except ArchitectureMismatch as error:
        hint = size_hint(model, weights.tensors, size) or suggest_architectures(weights.tensors)
        raise ArchitectureMismatch(f"{error.message}.{hint}") from error
    check_variances(model)
    return model.eval().requires_grad_(False)


def _preprocess(spec: TeacherSpec, metadata: Mapping[str, Any], structure: ModelStructure) -> Preprocess:
    channels = structure.in_chans
    normalization = spec.normalization or _normalization(metadata, catalogue.find(structure.architecture), channels)
    if len(normalization.mean) != channels:
        raise BadSpec(
            f"teacher.normalization has {len(normalization.mean)} channels, but the teacher has {channels} input "
            "channels."
        )
    assert structure.image_size is not None, "structure_of sets it"
    return Preprocess(channels, structure.image_size, normalization)


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
