"""How a student is cut out of its teacher."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ttm_core.spec.base import Spec

Fraction = Annotated[float, Field(gt=0, lt=1)]


class PruneSpec(Spec):
    """Structured pruning: the student is the teacher without its least important channels. Set one target."""

    macs: Fraction | None = Field(
        None,
        description="Upper bound on the student's multiply-accumulates, as a fraction of the teacher's. Default with "
        "`latency_ms`: measured at the start of the run; if set, nothing is measured.",
    )
    parameters: Fraction | None = Field(
        None, description="Upper bound on the student's parameters, as a fraction of the teacher's."
    )
    latency_ms: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None,
        description="Upper bound on the student's median latency for one image on one thread in milliseconds: of its "
        "float32 ONNX file in ONNX Runtime on the CPU of `device`.",
    )
    device: Annotated[str, Field(max_length=64)] = Field(
        "worker",
        description="Where `latency_ms` is measured. Only `worker`, the machine that runs the job, is supported.",
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
    def unmeasured(self) -> bool:
        """Whether the MACs that meet `latency_ms` are not known yet."""
        return self.latency_ms is not None and self.macs is None

    @property
    def fraction(self) -> float:
        """The target of `macs` or `parameters`."""
        found = self.macs if self.macs is not None else self.parameters
        assert found is not None, "resolve_latency measures the MACs that meet a latency"
        return found

    @property
    def kind(self) -> str:
        """What the fraction limits, for messages."""
        return "MACs" if self.parameters is None else "parameters"

    @property
    def target(self) -> str:
        """The target for messages: `25 % of its MACs` or `5 ms`."""
        if self.latency_ms is not None:
            return f"{self.latency_ms:g} ms"
        return f"{100 * self.fraction:.3g} % of its {self.kind}"

    @field_validator("device")
    @classmethod
    def _measured_in_the_job(cls, device: str) -> str:
        if device != "worker":
            raise ValueError(
                f"a job is measured on its own worker and cannot wait for {device!r}: remove the field, or create a "
                "study with limits.latency_ms, limits.device and students pruned by `macs`"
            )
        return device

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if self.latency_ms is None:
            if (self.macs is None) == (self.parameters is None):
                raise ValueError("set exactly one of `macs`, `parameters` and `latency_ms`")
            return self
        if self.parameters is not None:
            raise ValueError("set `parameters` or `latency_ms`, not both")
        if self.unmeasured and self.steps > 1:
            raise ValueError(
                "latency_ms is measured on a student that is cut in one step: remove `steps`, or set `macs` to the "
                "fraction that a job with one step reports"
            )
        return self
