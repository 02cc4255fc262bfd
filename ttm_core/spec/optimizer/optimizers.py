"""What the optimizer, its learning-rate schedule and what surrounds them are told. Torch-free."""

import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ttm_core.spec.base import Spec
from ttm_core.spec.optimizer.timm_names import TIMM_OPTIMIZERS

Rate = Annotated[float, Field(ge=0, le=1e3)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Sgd(Spec):
    """Stochastic gradient descent with momentum, without Nesterov unless asked for."""

    name: Literal["sgd"] = "sgd"
    learning_rate: Rate = 0.05
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: Rate = 5e-4

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class AdamW(Spec):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    learning_rate: Rate = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-8
    weight_decay: Rate = 0.05


class Timm(Spec):
    """Any other optimizer of timm's, by its name there. What is left at null is that optimizer's own default."""

    name: Literal["timm"] = "timm"
    algorithm: Annotated[str, Field(json_schema_extra={"enum": list(TIMM_OPTIMIZERS)})]
    learning_rate: Rate = 1e-3
    weight_decay: Rate = 0.0
    decay_biases_and_norms: bool = Field(
        False, description="Decay parameters of one dimension, too, which timm spares as a rule."
    )
    momentum: Share | None = None
    betas: Annotated[list[Share], Field(min_length=2, max_length=3)] | None = None
    epsilon: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _takes_its_options(self) -> Self:
        if self.algorithm not in TIMM_OPTIMIZERS:
            near = difflib.get_close_matches(self.algorithm, TIMM_OPTIMIZERS, 3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"timm has no optimizer {self.algorithm!r} that runs here{hint}")
        takes = TIMM_OPTIMIZERS[self.algorithm]
        count = 3 if "betas3" in takes else 2
        if self.momentum is not None and "momentum" not in takes:
            raise ValueError(f"{self.algorithm} takes no momentum")
        if self.betas is not None and not {"betas", "betas3"} & set(takes):
            raise ValueError(f"{self.algorithm} takes no betas")
        if self.betas is not None and len(self.betas) != count:
            raise ValueError(f"{self.algorithm} takes {count} betas")
        if self.epsilon is not None and "epsilon" not in takes:
            raise ValueError(f"{self.algorithm} takes no epsilon")
        return self


OptimizerSpec = Annotated[Sgd | AdamW | Timm, Field(discriminator="name")]


class GradientClipping(Spec):
    """Bounds on gradients. A number is short for `{"kind": "norm", "value": ...}`."""

    kind: Literal["norm", "value", "agc"] = Field(
        "norm",
        description="`norm`: of the gradient over all parameters as one vector; `value`: of each of its elements; "
        "`agc`: of each unit's gradient against its weights, but for the classifier's (Brock et al. 2021, arXiv "
        "2102.06171).",
    )
    value: Annotated[float, Field(gt=0, le=1e6)]

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, data: Any) -> Any:
        return {"value": data} if isinstance(data, int | float) else data


class EmaSpec(Spec):
    """An exponential moving average of the student's weights, which is then what is validated and kept. A number is
    short for `{"decay": ...}`."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.9998
    warmup: bool = Field(True, description="Begin with a faster average: at step t the decay is at most (1+t)/(10+t).")

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, data: Any) -> Any:
        return {"decay": data} if isinstance(data, int | float) and not isinstance(data, bool) else data


class _WarmedUp(Spec):
    """A schedule that may begin with a linear warm-up from `warmup_learning_rate`, by step."""

    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    warmup_learning_rate: Rate = 1e-6


class Constant(_WarmedUp):
    """The optimizer's learning rate throughout."""

    kind: Literal["constant"] = "constant"


class MultiStep(_WarmedUp):
    """The learning rate times `factor` after each epoch in `milestones`."""

    kind: Literal["multistep"] = "multistep"
    milestones: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=100)]
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1


class EverySoOften(_WarmedUp):
    """The learning rate times `factor` after every `epochs` epochs."""

    kind: Literal["step"] = "step"
    epochs: Annotated[float, Field(gt=0)]
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1


class Cosine(_WarmedUp):
    """Half a cosine from the end of the warm-up down to `final_learning_rate`, by step."""

    kind: Literal["cosine"] = "cosine"
    final_learning_rate: Rate = 0.0


class Polynomial(_WarmedUp):
    """`power` of the share of steps left, from the end of the warm-up down to `final_learning_rate`, by step."""

    kind: Literal["poly"] = "poly"
    power: Annotated[float, Field(gt=0, le=10)] = 1.0
    final_learning_rate: Rate = 0.0


ScheduleSpec = Annotated[Constant | MultiStep | EverySoOften | Cosine | Polynomial, Field(discriminator="kind")]
