"""Converts the tensors of foreign checkpoints to those of an architecture: names, classifiers, shortcuts."""

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ttm_core.checkpoints.fit import Fit, fit
from ttm_core.checkpoints.signatures import COUNTER, Signature
from ttm_core.models import build
from ttm_core.models.torchvision_models import AUXILIARY
from ttm_core.spec.job import TeacherSpec
from ttm_core.spec.structure import ModelStructure

log = logging.getLogger("ttm_core")


def signature_of(model: nn.Module, architecture: str) -> Signature:
    """The names and shapes of a model's tensors."""
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items() if not name.endswith(COUNTER)}
    classifiers = _names(model, "classifier")
    return Signature(
        architecture=architecture,
        shapes=shapes,
        classifier=next(iter(classifiers), None),
        other_classifiers=tuple(classifiers[1:]),
        first_conv=next(iter(_names(model, "first_conv")), None),
        ignored=AUXILIARY if architecture.startswith("torchvision/") else (),
    )


def signature_of_architecture(architecture: str) -> Signature:
    """The names and shapes of an architecture's tensors. Raises BadSpec if there is no such architecture."""
    return signature_of(build(ModelStructure(architecture=architecture, num_classes=2)), architecture)


def _names(model: nn.Module, field: str) -> list[str]:
    """The modules that timm's configuration of a model has in a field: a name or several."""
    names = model.pretrained_cfg.get(field)  # type: ignore[union-attr,operator]
    return [name for name in (names if isinstance(names, list | tuple) else [names]) if isinstance(name, str)]


def adapt(tensors: Mapping[str, Tensor], signature: Signature, spec: TeacherSpec) -> dict[str, Tensor]:
    """Renames the tensors of a checkpoint for an architecture and adds those that it expresses without parameters.

    The result may still not fit; loading it strictly reports what is missing.

    Args:
        tensors: of the checkpoint by name.
        signature: of the architecture.
        spec: the teacher, with its `key_map` and `identity_shortcuts`.

    Raises:
        BadSpec: the key map does not apply to the checkpoint.
    """
    counters = {name: tensor for name, tensor in tensors.items() if name.endswith(COUNTER)}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name not in counters}
    found = fit(shapes, signature, spec.key_map)
    if found.how == "known_renames" and not found.complete:
        return dict(tensors)
    renamed = {new: tensors[old] for old, new in found.renamed.items()} | _renamed_counters(counters, found)
    if found.identity_shortcuts:
        renamed |= identity_shortcuts(
            signature, found.identity_shortcuts, centered=spec.identity_shortcuts == "centered"
        )
        log.info("shortcuts without parameters became fixed 1x1 convolutions")
    return renamed


def _renamed_counters(counters: Mapping[str, Tensor], found: Fit) -> dict[str, Tensor]:
    modules = {old.rpartition(".")[0]: new.rpartition(".")[0] for old, new in found.renamed.items()}
    renamed = {}
    for name, tensor in counters.items():
        module = name.rpartition(".")[0]
        if module in modules:  # counters of dropped modules are dropped with them
            renamed[f"{modules[module]}.{COUNTER}" if modules[module] else COUNTER] = tensor
    return renamed


def identity_shortcuts(signature: Signature, modules: Sequence[str], *, centered: bool) -> dict[str, Tensor]:
    """The tensors of 1x1 convolutions and batch norms that equal subsampling and zero channels.

    Args:
        signature: of a CIFAR ResNet.
        modules: its shortcuts, such as `layer2.0.downsample`.
        centered: whether the zero channels are on both sides of the input's channels, or after them.
    """
    tensors: dict[str, Tensor] = {}
    for module in modules:
        out_channels, in_channels, *_ = signature.shapes[f"{module}.0.weight"]
        start = (out_channels - in_channels) // 2 if centered else 0
        weight = torch.zeros(out_channels, in_channels, 1, 1)
        channels = torch.arange(in_channels)
        weight[start + channels, channels] = 1
        tensors[f"{module}.0.weight"] = weight
        tensors[f"{module}.1.weight"] = torch.ones(out_channels)
        tensors[f"{module}.1.bias"] = torch.zeros(out_channels)
        tensors[f"{module}.1.running_mean"] = torch.zeros(out_channels)
        # The norm divides by the root of variance + epsilon.
        tensors[f"{module}.1.running_var"] = torch.full((out_channels,), 1 - nn.BatchNorm2d(1).eps)
    return tensors
