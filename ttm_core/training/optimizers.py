"""From specs to an optimizer and a learning rate: the one place to register either."""

import copy
import math
from collections.abc import Iterator
from typing import Any, assert_never

import torch
from timm.optim import create_optimizer_v2, param_groups_weight_decay  # type: ignore[attr-defined]
from timm.utils.agc import adaptive_clip_grad
from torch import nn

from ttm_core.spec.optimizer.optimizers import (
    AdamW,
    Constant,
    Cosine,
    EmaSpec,
    EverySoOften,
    GradientClipping,
    MultiStep,
    OptimizerSpec,
    Polynomial,
    ScheduleSpec,
    Sgd,
    Timm,
)


def build_optimizer(spec: OptimizerSpec, *models: nn.Module) -> torch.optim.Optimizer:
    """An optimizer over all parameters that train; fused where it can be, since one kernel a step is faster on every
    device."""
    parameters = list(trained(*models))
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
        case Timm():
            told = {"momentum": spec.momentum, "betas": spec.betas, "eps": spec.epsilon}
            options: dict[str, Any] = {name: value for name, value in told.items() if value is not None}
            if "betas" in options:
                options["betas"] = tuple(options["betas"])
            groups = [group for model in models for group in _groups(spec, model)]
            return create_optimizer_v2(groups, opt=spec.algorithm, lr=spec.learning_rate, **options)
        case _:
            assert_never(spec)


def trained(*models: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters that are not frozen."""
    return (parameter for model in models for parameter in model.parameters() if parameter.requires_grad)


def _groups(spec: Timm, model: nn.Module) -> list[dict[str, Any]]:
    """Parameters with and without decay; a model of timm's names more to spare, such as position embeddings."""
    spared: set[str] = getattr(model, "no_weight_decay", set)()
    return param_groups_weight_decay(
        model,
        spec.weight_decay,
        weight_decay_exclude_1d=not spec.decay_biases_and_norms,
        no_weight_decay_list=() if spec.decay_biases_and_norms else spared,
    )


def learning_rate(spec: ScheduleSpec, base: float, *, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of a step: a function of the step alone, so that resuming needs no scheduler state."""
    warmup, total = spec.warmup_epochs * steps_per_epoch, epochs * steps_per_epoch
    if step < warmup:
        return spec.warmup_learning_rate + (base - spec.warmup_learning_rate) * step / warmup
    done = min((step - warmup) / max(total - warmup, 1), 1.0)
    match spec:
        case Constant():
            return base
        case MultiStep(milestones=milestones, factor=factor):
            return base * factor ** sum(step >= milestone * steps_per_epoch for milestone in milestones)
        case EverySoOften(epochs=every, factor=factor):
            return base * factor ** math.floor(step / (every * steps_per_epoch))
        case Cosine(final_learning_rate=last):
            return last + (base - last) * (1 + math.cos(math.pi * done)) / 2
        case Polynomial(power=power, final_learning_rate=last):
            return last + (base - last) * (1 - done) ** power
        case _:
            assert_never(spec)


def clip_gradients(spec: GradientClipping, student: nn.Module, objective: nn.Module) -> None:
    """Bound the gradients of all that trains, in place."""
    match spec.kind:
        case "norm":
            torch.nn.utils.clip_grad_norm_(trained(student, objective), spec.value)
        case "value":
            torch.nn.utils.clip_grad_value_(trained(student, objective), spec.value)
        case "agc":
            # A classifier's rows grow with what is learned: bound like the rest, it would stay where it is.
            timm: Any = student
            found = timm.get_classifier()
            heads = found if isinstance(found, tuple) else (found,)  # DeiT's distilled models have two
            classifier = {id(parameter) for head in heads for parameter in head.parameters()}
            bound = [parameter for parameter in trained(student, objective) if id(parameter) not in classifier]
            adaptive_clip_grad(bound, clip_factor=spec.value)
        case _:
            assert_never(spec.kind)


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
