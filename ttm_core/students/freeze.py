"""Weights of a fine-tuned start that stay as they are."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from ttm_core.errors import BadSpec


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
