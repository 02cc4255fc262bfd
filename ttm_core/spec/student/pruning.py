"""How a student is cut out of its teacher."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ttm_core.spec.base import Spec

Fraction = Annotated[float, Field(gt=0, lt=1)]


class PruneSpec(Spec):
    """Structured pruning: the student is the teacher without its least important channels. Set one target."""

    macs: Fraction | None = Field(
        None, description="Upper bound on the student's multiply-accumulates, as a fraction of the teacher's."
    )
    parameters: Fraction | None = Field(
        None, description="Upper bound on the student's parameters, as a fraction of the teacher's."
    )
    importance: Literal["magnitude", "taylor"] = Field(
        "magnitude",
        description="What makes a channel important: the norm of its weights, or the estimated change of the loss "
        "without it, on 256 training images.",
    )
    round_to: Annotated[int, Field(ge=1, le=64)] = Field(
        8,
        description="Layers keep a multiple of this number of channels. Lower it for networks with few channels, where "
        "multiples of 8 miss the target.",
    )
    steps: Annotated[int, Field(ge=1, le=8)] = Field(
        1, description="Prune in this number of equal steps, with `recovery_steps` training steps between them."
    )
    recovery_steps: Annotated[int, Field(ge=1, le=10_000)] = Field(
        100,
        description="Training steps after each pruning step but the last. A run that stops during them starts over.",
    )

    @property
    def fraction(self) -> float:
        """The target of `macs` or `parameters`."""
        found = self.macs if self.macs is not None else self.parameters
        assert found is not None, "one is set"
        return found

    @property
    def kind(self) -> str:
        """What the target limits, for messages."""
        return "MACs" if self.macs is not None else "parameters"

    @property
    def target(self) -> str:
        """The target for messages: `25 % of its MACs`."""
        return f"{100 * self.fraction:.3g} % of its {self.kind}"

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.macs is None) == (self.parameters is None):
            raise ValueError("set exactly one of `macs` and `parameters`")
        return self
