"""Reads the structure of a teacher from its spec, its file and its tensors."""

from collections.abc import Mapping

import torch
from torch import nn

from ttm_core.checkpoints.inspect import find_candidates
from ttm_core.checkpoints.signatures import COUNTER, Signature, depends_on_image_size
from ttm_core.errors import ArchitectureMismatch, BadSpec
from ttm_core.models.image_sizes import check_image_size
from ttm_core.models.timm_models import has_fixed_size
from ttm_core.spec import catalogue
from ttm_core.spec.job import TeacherSpec
from ttm_core.spec.structure import MAX_CLASSES, ModelStructure

_LISTED_KEYS = 5


def architecture_of(spec: TeacherSpec, saved: ModelStructure | None, tensors: Mapping[str, torch.Tensor]) -> str:
    """The architecture that the spec or the file names. Raises BadSpec without one."""
    architecture = spec.architecture or (saved.architecture if saved is not None else None)
    if architecture is None:
        raise BadSpec(
            "teacher.architecture is required, because the teacher's file does not name its architecture."
            f"{suggest_architectures(tensors)}"
        )
    return architecture


def structure_of(
    spec: TeacherSpec,
    saved: ModelStructure | None,
    architecture: str,
    signature: Signature,
    tensors: Mapping[str, torch.Tensor],
    image_size: int,
) -> ModelStructure:
    """The structure that the tensors have. Its image size is that of the file, of the spec, or of an architecture with
    a fixed one; without any of them, `image_size`.

    Raises:
        BadSpec: a field of the spec contradicts the file or the tensors, or the model cannot process its image size.
        ArchitectureMismatch: the tensors have no classifier, or more classes or other channels than are supported.
    """
    saved_size = None if saved is None else saved.image_size
    if saved_size is not None and spec.image_size not in (None, saved_size):
        raise BadSpec(f"teacher.image_size is {spec.image_size}, but the file says {saved_size} pixels.")
    num_classes = _classes(signature, tensors)
    if spec.num_classes not in (None, num_classes):
        raise BadSpec(f"teacher.num_classes is {spec.num_classes}, but the checkpoint has {num_classes} classes.")
    own_size = catalogue.find(architecture).input_size[1] if has_fixed_size(architecture) else image_size
    size = saved_size or spec.image_size or own_size
    structure = ModelStructure(
        architecture=architecture,
        num_classes=num_classes,
        in_chans=_in_channels(signature, tensors),
        image_size=size,
        pruning=saved.pruning if saved is not None and saved.architecture == architecture else [],
    )
    check_image_size(structure, size, "teacher.image_size")
    return structure


def suggest_architectures(tensors: Mapping[str, torch.Tensor]) -> str:
    """A sentence that names the architectures which the tensors fit completely; empty if there is none."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    fitting = [candidate for candidate in find_candidates(shapes) if candidate.loads]
    if not fitting:
        return ""
    names = " or ".join(candidate.architecture for candidate in fitting[:3])
    mapped = ", with the key_map that `ttm inspect FILE` proposes" if fitting[0].key_map else ""
    return f" Its tensors fit {names}{mapped}."


def size_hint(model: nn.Module, tensors: Mapping[str, torch.Tensor], size: int) -> str:
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
