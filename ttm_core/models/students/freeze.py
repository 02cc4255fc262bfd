"""Excludes parameters of the student from training."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from ttm_core.errors import BadSpec


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
