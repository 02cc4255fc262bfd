"""Builds optimizers, learning rates, gradient clipping and weight averages from their specs."""

import math
from collections.abc import Iterator
from typing import Any, assert_never

import torch
from timm.optim import (  # type: ignore[attr-defined]
    create_optimizer_v2,
    param_groups_layer_decay,
    param_groups_weight_decay,
)
from timm.utils.agc import adaptive_clip_grad
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel

from ttm_core.spec.optimizer.optimizers import (
    AdamW,
    Constant,
    Cosine,
    EmaSpec,
    GradientClipping,
    MultiStep,
    OptimizerSpec,
    Polynomial,
    ScheduleSpec,
    Sgd,
    StepDecay,
    Timm,
)


def build_optimizer(spec: OptimizerSpec, *models: nn.Module) -> torch.optim.Optimizer:
    """An optimizer over all trainable parameters, fused where torch has a fused kernel."""
    parameters: list[Any] = list(trainable(*models)) if spec.layer_decay is None else _groups(spec, *models)
    match spec:
        case Sgd():
            return torch.optim.SGD(
                parameters,
                lr=resolved_learning_rate(spec),
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
            given = {"momentum": spec.momentum, "betas": spec.betas, "eps": spec.epsilon}
            options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
            if "betas" in options:
                options["betas"] = tuple(options["betas"])
            return create_optimizer_v2(_groups(spec, *models), opt=spec.algorithm, lr=spec.learning_rate, **options)
        case _:
            assert_never(spec)


def resolved_learning_rate(spec: OptimizerSpec) -> float:
    """The learning rate of a resolved spec."""
    assert spec.learning_rate is not None, "the engine chooses it"
    return spec.learning_rate


def trainable(*models: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters that are not frozen."""
    return (parameter for model in models for parameter in model.parameters() if parameter.requires_grad)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of all parameters; with a layer decay, that of the classifier, and the others' by it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def _groups(spec: OptimizerSpec, student: nn.Module, *others: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups by weight decay and, with a layer decay, by the layer of the student."""
    if spec.layer_decay is None:
        return [group for model in (student, *others) for group in param_groups_weight_decay(**_options(spec, model))]
    groups = param_groups_layer_decay(**_options(spec, student), layer_decay=spec.layer_decay)
    # The other modules have no layers: they train with the rate of the classifier.
    return groups + [group for model in others for group in param_groups_weight_decay(**_options(spec, model))]


def _options(spec: OptimizerSpec, model: nn.Module) -> dict[str, Any]:
    """Arguments of timm's grouping functions. timm's models exclude more from weight decay, such as position
    embeddings.
    """
    decay_all = not isinstance(spec, Timm) or spec.decay_biases_and_norms
    return {
        "model": model,
        "weight_decay": spec.weight_decay,
        "weight_decay_exclude_1d": not decay_all,
        "no_weight_decay_list": () if decay_all else getattr(model, "no_weight_decay", set)(),
    }


def learning_rate(spec: ScheduleSpec, base: float, *, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of a step: a pure function of the step, so that resuming needs no scheduler state."""
    warmup, total = spec.warmup_epochs * steps_per_epoch, epochs * steps_per_epoch
    if step < warmup:
        return spec.warmup_learning_rate + (base - spec.warmup_learning_rate) * step / warmup
    done = min((step - warmup) / max(total - warmup, 1), 1.0)
    match spec:
        case Constant():
            return base
        case MultiStep(milestones=milestones, factor=factor):
            return base * factor ** sum(step >= milestone * steps_per_epoch for milestone in milestones)
        case StepDecay(epochs=every, factor=factor):
            return base * factor ** math.floor(step / (every * steps_per_epoch))
        case Cosine(final_learning_rate=last):
            return last + (base - last) * (1 + math.cos(math.pi * done)) / 2
        case Polynomial(power=power, final_learning_rate=last):
            return last + (base - last) * (1 - done) ** power
        case _:
            assert_never(spec)


def clip_gradients(spec: GradientClipping, student: nn.Module, objective: nn.Module) -> None:
    """Clips the gradients of all trainable parameters in place."""
    match spec.kind:
        case "norm":
            torch.nn.utils.clip_grad_norm_(trainable(student, objective), spec.value)
        case "value":
            torch.nn.utils.clip_grad_value_(trainable(student, objective), spec.value)
        case "agc":
            # As in the paper, the classifier is not clipped: its weights start near 0, so the bound would freeze it.
            timm: Any = student
            found = timm.get_classifier()
            heads = found if isinstance(found, tuple) else (found,)  # DeiT's distilled models have two
            classifier = {id(parameter) for head in heads for parameter in head.parameters()}
            clipped = [parameter for parameter in trainable(student, objective) if id(parameter) not in classifier]
            adaptive_clip_grad(clipped, clip_factor=spec.value)
        case _:
            assert_never(spec.kind)


def build_ema(spec: EmaSpec, model: nn.Module) -> AveragedModel:
    """An exponential moving average of a model, in evaluation mode, that starts from the model's current weights.

    Batch norm statistics are averaged like weights; integer buffers are copied.
    """

    def average(own: PARAM_LIST, given: PARAM_LIST, step: Tensor | int) -> None:
        decay = min(spec.decay, (1 + int(step)) / (10 + int(step))) if spec.warmup else spec.decay
        if own[0].is_floating_point():
            torch._foreach_lerp_(own, given, 1 - decay)
        else:
            torch._foreach_copy_(own, given)

    ema = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
    # AveragedModel copies the weights at its first update; the copy it was built from is the initial average.
    ema.n_averaged += 1
    ema.eval().requires_grad_(False)
    return ema
