"""The goal and the limits of a study."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ttm_core.spec.base import Spec

Goal = Literal["smallest", "fastest", "most_accurate"]
Precision = Literal["fp32", "int8", "any"]
_FLOORS = ("retention", "accuracy")
_CEILINGS = ("bytes", "latency_ms", "macs", "parameters")


class LimitsSpec(Spec):
    """What the recommended student must meet. At least one limit is required."""

    retention: Annotated[float, Field(gt=0, le=2)] | None = Field(
        None, description="Least validation accuracy of the student, as a share of the teacher's."
    )
    accuracy: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Least validation accuracy of the student, in [0, 1]."
    )
    bytes: Annotated[int, Field(ge=1, le=2**50)] | None = Field(None, description="Largest ONNX file in bytes.")
    latency_ms: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        None, description="Largest median latency of one image in milliseconds, in ONNX Runtime on `device`."
    )
    macs: Annotated[int, Field(ge=1, le=2**60)] | None = Field(
        None, description="Most multiply-accumulates for one image."
    )
    parameters: Annotated[int, Field(ge=1, le=2**50)] | None = Field(None, description="Most parameters.")
    device: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        "worker",
        description="Where latency is measured: `worker`, or the name of a device that runs `ttm bench --agent`. The "
        "study waits for the device.",
    )
    precision: Precision = Field(
        "any",
        description="Precision of the ONNX file that must meet the limits. any: the cheapest that meets them, "
        "among the files that `exports` and `quantize` make.",
    )

    @property
    def has_floor(self) -> bool:
        """Whether there is a limit on accuracy."""
        return any(getattr(self, name) is not None for name in _FLOORS)

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if all(getattr(self, name) is None for name in (*_FLOORS, *_CEILINGS)):
            raise ValueError(f"set at least one of {', '.join((*_FLOORS, *_CEILINGS))}")
        if self.device != "worker" and self.latency_ms is None:
            raise ValueError("device has no effect without latency_ms: set latency_ms, or remove device")
        return self
