"""Removes the least important channels of a model by Torch-Pruning."""

import copy

from torch import Tensor, nn
from torch_pruning.pruner import BasePruner
from torch_pruning.pruner.importance import GroupMagnitudeImportance, GroupTaylorImportance

from ttm_core.models.pruning.graph import attention_heads, classifiers, fit_attention, tracing
from ttm_core.models.pruning.history import to_steps
from ttm_core.spec.structure import PruningStep


class _Pruner(BasePruner):  # type: ignore[misc]  # untyped
    def _round_to(self, n_pruned: int, current_channels: int, round_to: int) -> int:
        """Keeps a multiple of `round_to` channels and at least `round_to`.

        The library rounds down to 0, and then does not prune the layer at all.
        """
        kept: int = max((current_channels - n_pruned) // round_to, 1) * round_to
        return max(current_channels - kept, 0)


def cut(
    model: nn.Module, x: Tensor, ratio: float, *, taylor: bool, round_to: int
) -> tuple[nn.Module, list[PruningStep]]:
    """A pruned copy of a model, and the steps that were taken.

    Channels of layers with the same pattern of dependencies are ranked together (isomorphic pruning, Fang et al. 2024,
    arXiv 2407.04616), so that layers of different kinds are never compared. The classifier keeps its classes, and
    attention layers lose whole heads.

    Args:
        model: the model, with gradients of the loss in its parameters for `taylor`.
        x: example input [1, C, H, W].
        ratio: share of the channels to remove from each set of similar layers.
        taylor: rank by the change of the loss (Molchanov et al., 2019) instead of by the norm of the weights.
        round_to: the number of channels kept in a layer is a multiple of this.
    """
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    pruned = copy.deepcopy(model)
    for name, parameter in pruned.named_parameters():
        parameter.requires_grad_(True)
        parameter.grad = gradients[name]
    heads = attention_heads(pruned)
    with tracing(pruned):
        pruner = _Pruner(
            pruned,
            x,
            importance=GroupTaylorImportance() if taylor else GroupMagnitudeImportance(),
            global_pruning=True,
            isomorphic=True,
            pruning_ratio=ratio,
            ignored_layers=classifiers(pruned),
            round_to=round_to,
            num_heads=heads,
            prune_num_heads=bool(heads),
            prune_head_dims=not heads,
            head_pruning_ratio=ratio if heads else 0.0,
            # The library's default arguments are dictionaries that it changes.
            in_channel_groups={},
            out_channel_groups={},
        )
        pruner.step()
    fit_attention(pruned)
    for parameter in pruned.parameters():
        parameter.grad = None
    return pruned, to_steps(pruner.pruning_history())
