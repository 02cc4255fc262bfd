"""Initializes the student of a run."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import nn

from ttm_core.data.random import seed as derived_seed
from ttm_core.errors import ArchitectureMismatch, BadSpec
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.timm_models import create_model
from ttm_core.models.weights import describe_mismatch, read_weights, with_batch_counters
from ttm_core.models.workarounds import subsample_before_narrow_strided_pointwise
from ttm_core.spec.job import StudentSpec

_INIT_SEED = 301  # random stream of the initial weights


def start_student(
    spec: StudentSpec,
    preprocess: Preprocess,
    weights: Path | None,
    *,
    num_classes: int,
    seed: int,
    device: torch.device,
) -> nn.Module:
    """Creates the student with the weights of a file, or with random weights drawn from `seed`.

    Raises:
        BadSpec: the spec has drop_path, which the architecture does not support.
        BadCheckpoint, ArchitectureMismatch: the weights are unsafe, damaged, or of another model.
    """
    torch.manual_seed(derived_seed(_INIT_SEED, seed))
    options = {} if spec.drop_path is None else {"drop_path_rate": spec.drop_path}
    try:
        model = create_model(
            spec.architecture,
            num_classes=num_classes,
            in_chans=preprocess.channels,
            image_size=preprocess.image_size,
            **options,
        )
    except TypeError as error:
        if not options:
            raise
        raise BadSpec(
            f"student.drop_path: {spec.architecture} does not support stochastic depth. Remove the field."
        ) from error
    if weights is not None:
        initialize_from(model, weights, spec.architecture)
    if device.type == "cpu":
        subsample_before_narrow_strided_pointwise(model)
    return model.to(device).to(memory_format=torch.channels_last)


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Excludes parameters from training by name.

    Args:
        model: a student.
        patterns: shell patterns such as `conv1.*` or `layer[12].*`.

    Returns:
        The modules without trainable parameters. Keep them in evaluation mode, so that their statistics do not change.

    Raises:
        BadSpec: a pattern matches no parameter, or no parameter is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise BadSpec(f"student.freeze: no parameter matches {pattern!r}. The first are {', '.join(names[:5])}.")
    for name, parameter in model.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise BadSpec("student.freeze excludes every parameter from training.")
    return [module for module in model.modules() if _is_frozen(module)]


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def initialize_from(model: nn.Module, path: Path, architecture: str) -> list[str]:
    """Copies the weights of a checkpoint into the model. Only the classifier may be missing or of another size.

    Returns the keys that keep their initial values.

    Raises:
        ArchitectureMismatch: any other tensor is missing, unexpected or of another shape.
    """
    tensors = with_batch_counters(model, read_weights(path).tensors)
    names = model.pretrained_cfg.get("classifier") or ()  # type: ignore[union-attr,operator]
    heads = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    expected = model.state_dict()
    fitting = {key: value for key, value in tensors.items() if key in expected and expected[key].shape == value.shape}
    fresh = [key for key in expected if key not in fitting]
    unexpected = [key for key in tensors if key not in expected]
    if any(not key.startswith(heads) for key in (*fresh, *unexpected)):
        raise ArchitectureMismatch(f"student.checkpoint is not a {architecture}: {describe_mismatch(model, tensors)}")
    model.load_state_dict(fitting, strict=False)
    return fresh
