"""The student as a run starts with it."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import nn

from ttm_core.data.random import seed as derived_seed
from ttm_core.errors import ArchitectureMismatch, BadSpec
from ttm_core.models.create import create_model
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.weights import read_weights
from ttm_core.models.workarounds import subsample_before_narrow_strided_pointwise
from ttm_core.spec.job import StudentSpec

_INIT_SEED = 301  # the stream of the initial weights


def start_student(
    spec: StudentSpec,
    preprocess: Preprocess,
    weights: Path | None,
    *,
    num_classes: int,
    seed: int,
    device: torch.device,
) -> nn.Module:
    """A model of the spec's architecture, with `weights` where they are given and drawn from `seed` elsewhere.

    Raises:
        BadSpec: it has no paths to drop, and the spec asks for it.
        BadCheckpoint, ArchitectureMismatch: the weights are unsafe, damaged, or another model's.
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
        raise BadSpec(f"{spec.architecture} has no paths to drop: leave student.drop_path out") from error
    if weights is not None:
        initialize_from(model, weights, spec.architecture)
    if device.type == "cpu":
        subsample_before_narrow_strided_pointwise(model)
    return model.to(device).to(memory_format=torch.channels_last)


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Take the parameters whose names match from training.

    Args:
        model: a student.
        patterns: shell patterns such as `conv1.*` or `layer[12].*`.

    Returns:
        The modules that are frozen as a whole: they belong in evaluation mode, so that their statistics stay as well.

    Raises:
        BadSpec: a pattern matches no parameter, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise BadSpec(f"student.freeze: no parameter is named like {pattern!r}; they begin {', '.join(names[:5])}")
    for name, parameter in model.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise BadSpec("student.freeze leaves nothing to train")
    return [module for module in model.modules() if _is_frozen(module)]


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def initialize_from(model: nn.Module, path: Path, architecture: str) -> list[str]:
    """Copy a checkpoint's weights into the model; only the classifier may be missing or of another size.

    Returns the keys that keep their fresh values. Raises ArchitectureMismatch for anything else that does not fit.
    """
    found = read_weights(path).tensors
    names = model.pretrained_cfg.get("classifier") or ()  # type: ignore[union-attr,operator]
    heads = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    expected = model.state_dict()
    fitting = {key: value for key, value in found.items() if key in expected and expected[key].shape == value.shape}
    fresh = [key for key in expected if key not in fitting]
    strangers = [key for key in [*fresh, *(key for key in found if key not in expected)] if not key.startswith(heads)]
    if strangers:
        raise ArchitectureMismatch(
            f"the student's checkpoint is not a {architecture}: {len(strangers)} keys are missing, unexpected or of "
            f"another shape: {', '.join(strangers[:5])}"
        )
    model.load_state_dict(fitting, strict=False)
    return fresh
