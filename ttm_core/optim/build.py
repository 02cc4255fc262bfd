"""From specs to an optimiser and a learning rate: the one place to register either."""

import math
from typing import assert_never

import torch
from torch import nn

from ttm_core.optim.specs import AdamW, Constant, Cosine, MultiStep, OptimizerSpec, ScheduleSpec, Sgd


def build_optimizer(spec: OptimizerSpec, model: nn.Module) -> torch.optim.Optimizer:
    """An optimiser over all parameters that train; fused, since one kernel a step is faster on every device."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    match spec:
        case Sgd():
            return torch.optim.SGD(
                parameters,
                lr=spec.learning_rate,
                momentum=spec.momentum,
                nesterov=spec.nesterov,
                weight_decay=spec.weight_decay,
                fused=True,
            )
        case AdamW():
            return torch.optim.AdamW(
                parameters,
                lr=spec.learning_rate,
                betas=spec.betas,
                eps=spec.epsilon,
                weight_decay=spec.weight_decay,
                fused=True,
            )
        case _:
            assert_never(spec)


def learning_rate(spec: ScheduleSpec, base: float, *, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of a step: a function of the step alone, so that resuming needs no scheduler state."""
    match spec:
        case Constant():
            return base
        case MultiStep(milestones=milestones, factor=factor):
            return base * factor ** sum(step >= milestone * steps_per_epoch for milestone in milestones)
        case Cosine(warmup_epochs=warmup_epochs, warmup_learning_rate=first, final_learning_rate=last):
            warmup, total = warmup_epochs * steps_per_epoch, epochs * steps_per_epoch
            if step < warmup:
                return first + (base - first) * step / warmup
            done = (step - warmup) / max(total - warmup, 1)
            return last + (base - last) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
        case _:
            assert_never(spec)
