"""An exponential moving average of a model's weights."""

import copy

import torch
from torch import nn

from ttm_core.spec.optimizer.optimizers import EmaSpec


class Ema:
    """A copy of a model that follows it slowly; statistics of batch norms are averaged like weights.

    Args:
        spec: how slowly.
        model: to follow.
    """

    def __init__(self, spec: EmaSpec, model: nn.Module) -> None:
        self.spec = spec
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the model's weights after a step, the first being 1."""
        decay = min(self.spec.decay, (1 + step) / (10 + step)) if self.spec.warmup else self.spec.decay
        for own, given in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if own.is_floating_point():
                own.lerp_(given, 1 - decay)
            else:
                own.copy_(given)
