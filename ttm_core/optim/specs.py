"""What the optimiser and its learning-rate schedule are told. Torch-free."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ttm_core.base import Spec

Rate = Annotated[float, Field(ge=0, le=1e3)]


class Sgd(Spec):
    """Stochastic gradient descent with momentum, without Nesterov unless asked for."""

    name: Literal["sgd"] = "sgd"
    learning_rate: Rate = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
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
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-8
    weight_decay: Rate = 0.05


OptimizerSpec = Annotated[Sgd | AdamW, Field(discriminator="name")]


class Constant(Spec):
    """The optimiser's learning rate throughout."""

    kind: Literal["constant"] = "constant"


class MultiStep(Spec):
    """The learning rate times `factor` after each epoch in `milestones`."""

    kind: Literal["multistep"] = "multistep"
    milestones: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=100)]
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1


class Cosine(Spec):
    """Linear warm-up from `warmup_learning_rate`, then half a cosine down to `final_learning_rate`, by step."""

    kind: Literal["cosine"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    warmup_learning_rate: Rate = 1e-6
    final_learning_rate: Rate = 0.0


ScheduleSpec = Annotated[Constant | MultiStep | Cosine, Field(discriminator="kind")]


def by_name(data: Any, tag: str) -> Any:
    """A bare string stands for the variant of that name with its defaults."""
    return {tag: data} if isinstance(data, str) else data
