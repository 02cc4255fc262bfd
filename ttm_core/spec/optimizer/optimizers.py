"""Specs of optimizers, learning-rate schedules, gradient clipping and weight averaging. Torch-free."""

import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ttm_core.spec.base import Spec
from ttm_core.spec.optimizer.timm_names import TIMM_OPTIMIZERS

Rate = Annotated[float, Field(ge=0, le=1e3)]
Share = Annotated[float, Field(ge=0, lt=1)]


class _Optimizer(Spec):
    """An optimizer with a learning rate for each layer."""

    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="Layer-wise learning-rate decay: the classifier trains with `learning_rate`, and each layer before "
        "it with this factor times the rate of the next one, as in timm. 0.65 to 0.9 suit the fine-tuning of "
        "pretrained weights. Default: one rate for all layers.",
    )


class Sgd(_Optimizer):
    """Stochastic gradient descent with momentum, and Nesterov momentum with `nesterov`."""

    name: Literal["sgd"] = "sgd"
    learning_rate: Rate | None = Field(
        None,
        description="Default: 0.05, or 0.01 for students with depthwise convolutions or without batch norms, such as "
        "MobileNet, EfficientNet, ConvNeXt and vision transformers.",
    )
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: Rate = 5e-4

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov requires a momentum greater than 0")
        return self


class AdamW(_Optimizer):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    learning_rate: Rate = 1e-3
    betas: Annotated[tuple[Share, Share], Field(strict=False)] = (0.9, 0.999)
    epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-8
    weight_decay: Rate = 0.05


class Timm(_Optimizer):
    """Any optimizer of timm by name. Fields that are null have the default of the optimizer."""

    name: Literal["timm"] = "timm"
    algorithm: Annotated[str, Field(json_schema_extra={"enum": list(TIMM_OPTIMIZERS)})]
    learning_rate: Rate = 1e-3
    weight_decay: Rate = 0.0
    decay_biases_and_norms: bool = Field(
        False, description="Also apply weight decay to one-dimensional parameters, which timm excludes by default."
    )
    momentum: Share | None = None
    betas: Annotated[list[Share], Field(min_length=2, max_length=3)] | None = None
    epsilon: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _takes_its_options(self) -> Self:
        if self.algorithm not in TIMM_OPTIMIZERS:
            near = difflib.get_close_matches(self.algorithm, TIMM_OPTIMIZERS, 3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"unsupported timm optimizer {self.algorithm!r}{hint}")
        options = TIMM_OPTIMIZERS[self.algorithm]
        count = 3 if "betas3" in options else 2
        if self.momentum is not None and "momentum" not in options:
            raise ValueError(f"{self.algorithm} has no option momentum")
        if self.betas is not None and not {"betas", "betas3"} & set(options):
            raise ValueError(f"{self.algorithm} has no option betas")
        if self.betas is not None and len(self.betas) != count:
            raise ValueError(f"{self.algorithm} requires {count} betas")
        if self.epsilon is not None and "epsilon" not in options:
            raise ValueError(f"{self.algorithm} has no option epsilon")
        return self


OptimizerSpec = Annotated[Sgd | AdamW | Timm, Field(discriminator="name")]


class GradientClipping(Spec):
    """Limits on gradients. A number is short for `{"kind": "norm", "value": ...}`."""

    kind: Literal["norm", "value", "agc"] = Field(
        "norm",
        description="norm limits the norm of the gradient over all parameters, value limits each element. agc "
        "limits the gradient "
        "of each unit relative to its weights, except in the classifier (Brock et al. 2021, arXiv 2102.06171).",
    )
    value: Annotated[float, Field(gt=0, le=1e6)]

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, data: Any) -> Any:
        return {"value": data} if isinstance(data, int | float) else data


class EmaSpec(Spec):
    """An exponential moving average of the student's weights, which is validated and saved instead. A number is short
    for `{"decay": ...}`."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.9998
    warmup: bool = Field(True, description="Limit the decay at step t to (1+t)/(10+t).")

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, data: Any) -> Any:
        return {"decay": data} if isinstance(data, int | float) and not isinstance(data, bool) else data


class _WarmedUp(Spec):
    """A schedule with an optional linear warm-up from `warmup_learning_rate`, by step."""

    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    warmup_learning_rate: Rate = 1e-6


class Constant(_WarmedUp):
    """A constant learning rate."""

    kind: Literal["constant"] = "constant"


class MultiStep(_WarmedUp):
    """Multiplies the learning rate by `factor` after each epoch in `milestones`."""

    kind: Literal["multistep"] = "multistep"
    milestones: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=100)]
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1


class StepDecay(_WarmedUp):
    """Multiplies the learning rate by `factor` every `epochs` epochs."""

    kind: Literal["step"] = "step"
    epochs: Annotated[float, Field(gt=0)]
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1


class Cosine(_WarmedUp):
    """Half a cosine from the learning rate to `final_learning_rate` after the warm-up, by step."""

    kind: Literal["cosine"] = "cosine"
    final_learning_rate: Rate = 0.0


class Polynomial(_WarmedUp):
    """Polynomial decay from the learning rate to `final_learning_rate` after the warm-up, by step."""

    kind: Literal["poly"] = "poly"
    power: Annotated[float, Field(gt=0, le=10)] = 1.0
    final_learning_rate: Rate = 0.0


ScheduleSpec = Annotated[Constant | MultiStep | StepDecay | Cosine | Polynomial, Field(discriminator="kind")]
