"""The teacher: a frozen model from a checkpoint, and what it expects of its input."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ttm_core.errors import ArchitectureMismatch, BadCheckpoint, BadDataset, BadSpec
from ttm_core.models import create_model
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.fold import fold_batch_norms
from ttm_core.models.weights import Weights, read_weights
from ttm_core.spec import catalogue
from ttm_core.spec.job import Normalization, TeacherSpec

_LISTED_KEYS = 5


@dataclass(frozen=True)
class Teacher:
    """A frozen model in evaluation mode, with its preprocessing and where each fact came from."""

    model: nn.Module
    architecture: str
    num_classes: int
    parameters: int
    class_names: list[str]  # of its logits
    class_map: list[int] | None
    preprocess: Preprocess
    layout: str

    @property
    def classes(self) -> int:
        """How many classes its logits are of: the dataset's."""
        return len(self.class_names)


class SelectClasses(nn.Module):
    """A model of timm's whose logits are of some of its classes only, in a given order; its features are as they were.

    Args:
        model: with timm's interface.
        classes: indices of the classes.
    """

    classes: torch.Tensor

    def __init__(self, model: Any, classes: list[int]) -> None:
        super().__init__()
        self.model = model
        self.num_prefix_tokens = getattr(model, "num_prefix_tokens", 0)
        self.register_buffer("classes", torch.tensor(classes), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, len(classes)]."""
        logits: torch.Tensor = self.model(x)
        return logits[:, self.classes]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> the model's own features."""
        return self.model.forward_features(x)

    def forward_intermediates(self, x: torch.Tensor, **options: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """[B, C, H, W] -> the model's own features and those of some of its blocks."""
        return self.model.forward_intermediates(x, **options)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Features -> [B, len(classes)], or [B, D] with `pre_logits`."""
        if pre_logits:
            return self.model.forward_head(x, pre_logits=True)
        return self.model.forward_head(x)[:, self.classes]

    def get_classifier(self) -> None:
        """None: no one layer gives the logits of these classes from the features."""


def load_teacher(spec: TeacherSpec, path: Path, *, image_size: int, class_names: list[str]) -> Teacher:
    """Load the teacher of a spec.

    What the spec leaves open is read from the file's metadata, then from its tensors, then from the architecture's
    own defaults; `image_size` (pixels) is the dataset's, for a teacher that says nothing of it. `class_names` are the
    dataset's, empty where it has no labels: then the classes are the teacher's own, or those of its class map.

    Raises:
        BadCheckpoint: the file is unsafe, damaged or no model's weights.
        ArchitectureMismatch: its tensors do not fit the architecture.
        BadDataset: the teacher's classes are not the dataset's.
        BadSpec: the architecture is neither given nor named in the file.
    """
    weights = read_weights(path)
    metadata = weights.metadata
    architecture = spec.architecture or metadata.get("architecture")
    if not isinstance(architecture, str):
        raise BadSpec("the teacher's file does not name its architecture: give teacher.architecture")
    cfg = catalogue.find(architecture)
    probe = create_model(architecture, num_classes=2)
    num_classes = spec.num_classes or _classes(probe, weights.tensors)
    channels = _in_channels(probe, weights.tensors)
    size = _positive(metadata.get("image_size")) or (cfg.input_size[1] if _fixed(probe) else image_size)
    normalization = spec.normalization or _normalization(metadata, cfg, channels)
    if len(normalization.mean) != channels:
        raise BadSpec(f"the teacher has {channels} input channels, but its normalization {len(normalization.mean)}")

    told = metadata.get("class_names")
    class_names = class_names or _own_classes(num_classes, told, spec.class_map)
    class_map = match_classes(num_classes, told, class_names, spec.class_map)
    model = create_model(architecture, num_classes=num_classes, in_chans=channels, image_size=size)
    load_strictly(model, weights, architecture)
    model.eval().requires_grad_(False)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    model = fold_batch_norms(model, channels, size)
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return Teacher(
        model=model if class_map is None else SelectClasses(model, class_map),
        architecture=architecture,
        num_classes=num_classes,
        parameters=parameters,
        class_names=class_names,
        class_map=class_map,
        preprocess=Preprocess(channels, size, normalization),
        layout=weights.layout,
    )


def load_strictly(model: nn.Module, weights: Weights, architecture: str) -> None:
    """Copy the weights into the model; every key and shape must fit. Raises ArchitectureMismatch naming them."""
    expected, found = model.state_dict(), weights.tensors
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    shapes = [
        f"{key} {list(found[key].shape)} instead of {list(expected[key].shape)}"
        for key in expected
        if key in found and found[key].shape != expected[key].shape
    ]
    if missing or extra or shapes:
        told = "; ".join(
            f"{len(keys)} {what}: {', '.join(keys[:_LISTED_KEYS])}{', ...' if len(keys) > _LISTED_KEYS else ''}"
            for what, keys in (("missing", missing), ("unexpected", extra), ("of another shape", shapes))
            if keys
        )
        raise ArchitectureMismatch(f"the checkpoint is not a {architecture}: {told}")
    model.load_state_dict(found)


def _classes(probe: nn.Module, tensors: Mapping[str, torch.Tensor]) -> int:
    """Rows of the classifier's weight in the file."""
    names = probe.pretrained_cfg.get("classifier")  # type: ignore[union-attr,operator]
    name = names[0] if isinstance(names, list | tuple) else names
    weight = tensors.get(f"{name}.weight") if isinstance(name, str) else None
    if weight is None or weight.ndim < 2:
        raise ArchitectureMismatch(
            f"the checkpoint has no classifier {name}.weight; its keys begin {', '.join(list(tensors)[:_LISTED_KEYS])}"
        )
    return weight.shape[0]


def _in_channels(probe: nn.Module, tensors: Mapping[str, torch.Tensor]) -> int:
    """Input channels of the first convolution in the file; 3 where the architecture names none."""
    names = probe.pretrained_cfg.get("first_conv")  # type: ignore[union-attr,operator]
    name = names[0] if isinstance(names, list | tuple) else names
    weight = tensors.get(f"{name}.weight") if isinstance(name, str) else None
    return weight.shape[1] if weight is not None and weight.ndim == 4 else 3


def _fixed(probe: nn.Module) -> bool:
    return bool(probe.pretrained_cfg.get("fixed_input_size"))  # type: ignore[union-attr,operator]


def _normalization(metadata: Mapping[str, Any], cfg: catalogue.Architecture, channels: int) -> Normalization:
    told = metadata.get("normalization")
    if isinstance(told, dict):
        try:
            return Normalization.model_validate(told)
        except ValueError as error:
            raise BadCheckpoint("the checkpoint's metadata has a damaged normalization") from error
    mean, std = list(cfg.mean), list(cfg.std)
    if channels == 1:
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    return Normalization(mean=mean, std=std)


def match_classes(num_classes: int, told: object, class_names: list[str], given: list[int] | None) -> list[int] | None:
    """For each class of the dataset its index among the teacher's; None where they are the same already.

    `told` is what the teacher's file says of its class names. Raises BadDataset where the two do not match.
    """
    if given is not None:
        if len(given) != len(class_names) or max(given) >= num_classes or len(set(given)) != len(given):
            raise BadDataset(
                f"teacher.class_map needs {len(class_names)} different indices below {num_classes}, one for each class"
            )
        return None if given == list(range(num_classes)) else given
    names = _names(told, num_classes)
    if names and set(class_names) <= set(names):
        return None if names == class_names else [names.index(name) for name in class_names]
    if num_classes != len(class_names):
        raise BadDataset(
            f"the teacher knows {num_classes} classes and the dataset has {len(class_names)}: "
            "give teacher.class_map if the dataset's classes are among the teacher's"
        )
    numbered = [str(label) for label in range(num_classes)]  # a format without class names
    if names and numbered not in (names, class_names):
        stranger = next(name for name in class_names if name not in names)
        raise BadDataset(f"the teacher's classes are not the dataset's: it knows no {stranger!r}")
    return None


def _own_classes(num_classes: int, told: object, given: list[int] | None) -> list[str]:
    names = _names(told, num_classes) or [str(label) for label in range(num_classes)]
    if given is None or max(given) >= num_classes:  # a map that does not fit is refused where it is matched
        return names
    return [names[index] for index in given]


def _names(told: object, num_classes: int) -> list[str] | None:
    """The names of its classes in a teacher's file, where they are as many as its classes."""
    return [str(name) for name in told] if isinstance(told, list) and len(told) == num_classes else None


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and 8 <= value <= 1024 else None
