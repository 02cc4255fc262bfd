"""Prunes a model to a target of multiply-accumulates or parameters."""

from collections.abc import Callable

from torch import Tensor, nn

from ttm_core.errors import BadSpec
from ttm_core.models.macs import macs_of
from ttm_core.models.pruning.cut import cut
from ttm_core.models.pruning.graph import example_input
from ttm_core.spec.structure import ModelStructure
from ttm_core.spec.student.pruning import PruneSpec

_CUTS = 12  # the last ones differ by less than one channel in a thousand
_CLOSE_ENOUGH = 0.98


def prune_to_target(
    model: nn.Module, structure: ModelStructure, spec: PruneSpec, fraction: float, whole: float, image_size: int
) -> tuple[nn.Module, ModelStructure]:
    """Searches the share of removed channels for which the cost is highest at or below the target.

    Args:
        model: a model of `structure`, with gradients in its parameters for Taylor importance. It stays unchanged.
        structure: may have a pruning history, to which the new steps are appended.
        spec: the kind of target, the importance and the rounding.
        fraction: the target as a share of `whole`.
        whole: `cost` of the unpruned model.
        image_size: side of the input in pixels.

    Raises:
        BadSpec: the target is below the smallest model, or the architecture cannot be pruned.
    """
    x = example_input(model, structure.in_chans, image_size)
    best: tuple[float, nn.Module, ModelStructure] | None = None
    smallest = 1.0
    low, high = 0.0, 1.0
    for ratio in (1.0, *([None] * _CUTS)):
        removed = (low + high) / 2 if ratio is None else ratio
        found, found_structure = _cut(model, structure, x, removed, spec)
        share = cost(found, found_structure, spec, image_size) / whole
        smallest = min(smallest, share)
        if share > fraction:
            if ratio is not None:
                break  # even the smallest model is above the target
            low = removed
            continue
        if best is None or share > best[0]:
            best = share, found, found_structure
        if share >= _CLOSE_ENOUGH * fraction:
            break
        high = removed
    if best is None:
        raise BadSpec(
            f"student.prune: the smallest {structure.architecture} in multiples of {spec.round_to} channels has "
            f"{100 * smallest:.3g} % of the teacher's {spec.kind}. Raise the target or lower student.prune.round_to."
        )
    return best[1], best[2]


def prune_completely(
    model: nn.Module, structure: ModelStructure, spec: PruneSpec, image_size: int
) -> tuple[nn.Module, ModelStructure]:
    """The smallest model that pruning can make. Arguments and errors are those of `prune_to_target`."""
    return _cut(model, structure, example_input(model, structure.in_chans, image_size), 1.0, spec)


def cost(model: nn.Module, structure: ModelStructure, spec: PruneSpec, image_size: int) -> float:
    """Multiply-accumulates or parameters of a model: what `spec.fraction` limits. Raises BadSpec if they cannot be
    counted.
    """
    if spec.parameters is not None:
        return float(sum(parameter.numel() for parameter in model.parameters()))
    counted = macs_of(model, structure, image_size)
    if counted is None:
        raise BadSpec(
            f"student.prune: the multiply-accumulates of {structure.architecture} cannot be counted. Set "
            "student.prune.parameters instead."
        )
    return float(counted)


def _cut(
    model: nn.Module, structure: ModelStructure, x: Tensor, ratio: float, spec: PruneSpec
) -> tuple[nn.Module, ModelStructure]:
    try:
        pruned, steps = cut(model, x, ratio, taylor=spec.importance == "taylor", round_to=spec.round_to)
        pruned(x)
    except Exception as error:  # the library and the layers raise exceptions of any type
        raise BadSpec(
            f"student.prune: {structure.architecture} cannot be pruned: {type(error).__name__}: {str(error)[:200]}"
        ) from error
    return pruned, structure.model_copy(update={"pruning": [*structure.pruning, *steps]})


Recover = Callable[[nn.Module, ModelStructure], None]
"""Trains a pruned model for a few steps, in place."""


def prune_in_steps(
    model: nn.Module,
    structure: ModelStructure,
    spec: PruneSpec,
    image_size: int,
    *,
    compute_gradients: Callable[[nn.Module], None],
    recover: Recover,
) -> tuple[nn.Module, ModelStructure]:
    """Prunes a model to the target of the spec in `spec.steps` steps of equal ratio, with recovery between them.

    Args:
        model: the whole model in evaluation mode.
        structure: its structure.
        spec: the target.
        image_size: side of the input in pixels.
        compute_gradients: fills the gradients of the loss, for Taylor importance.
        recover: called after each step but the last.

    Raises:
        BadSpec: as for `prune_to_target`.
    """
    whole = cost(model, structure, spec, image_size)
    for number in range(1, spec.steps + 1):
        if spec.importance == "taylor":
            compute_gradients(model)
        fraction = spec.fraction ** (number / spec.steps)
        model, structure = prune_to_target(model, structure, spec, fraction, whole, image_size)
        if number < spec.steps:
            recover(model, structure)
    return model, structure
