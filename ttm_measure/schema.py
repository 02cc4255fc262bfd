"""Results of measuring ONNX files, and the error of a file that cannot be measured."""

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveFloat, PositiveInt

Precision = Literal["fp32", "fp16", "int8"]


class Shape(NamedTuple):
    """What a file is measured at: images per run and threads of ONNX Runtime."""

    batch: int
    threads: int


class MeasureError(Exception):
    """A file that was not measured.

    Attributes:
        code: "refused" (not a file that is run), "failed" (ONNX Runtime cannot run it), "memory" or "time" (it exceeded
            a limit), or "killed" (the process was killed from outside, which is no property of the file).
    """

    def __init__(self, code: Literal["refused", "failed", "memory", "time", "killed"], message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measurement(_Result):
    """Latency and memory of one ONNX file at one batch size and number of threads."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the measured file.")
    runtime: Literal["onnxruntime"] = "onnxruntime"
    runtime_version: str
    provider: str = Field(description="ONNX Runtime's execution provider, for example CPUExecutionProvider.")
    cpu: str = Field(description="Model of the CPU or board.")
    precision: Precision
    batch: PositiveInt
    threads: PositiveInt
    pinned: bool = Field(description="Whether the process was pinned to as many cores as threads.")
    p50_ms: PositiveFloat = Field(allow_inf_nan=False, description="Median latency of a batch in ms.")
    p90_ms: PositiveFloat = Field(allow_inf_nan=False, description="90th percentile of the latency in ms.")
    throughput: PositiveFloat = Field(allow_inf_nan=False, description="Images per second at the median latency.")
    repeats: PositiveInt = Field(description="Timed runs after the warm-up.")
    relative_error: FiniteFloat = Field(
        ge=0, description="Half the width of the 95 % confidence interval of the median, divided by the median."
    )
    load_ms: PositiveFloat = Field(allow_inf_nan=False, description="Time to create the session in ms.")
    peak_memory_bytes: int | None = Field(
        ge=0, description="Peak resident memory above that of the process without the model; None if not known."
    )


class OperatorTime(_Result):
    """Time of one node of the optimized graph."""

    layer: str = Field(description="Name of the node's layer.")
    operator: str = Field(description="Operator type after ONNX Runtime's fusions, for example QLinearConv.")
    ms: float = Field(ge=0, allow_inf_nan=False)


class Profile(_Result):
    """Per-operator time of one run, in execution order. The profiler adds time, so the sum exceeds the latency."""

    sha256: str
    precision: Precision
    batch: PositiveInt
    threads: PositiveInt
    operators: list[OperatorTime]

    @property
    def total_ms(self) -> float:
        return sum(each.ms for each in self.operators)

    def by_layer(self) -> dict[str, float]:
        """Milliseconds per layer, in execution order."""
        return self._sum("layer")

    def by_operator(self) -> dict[str, float]:
        """Milliseconds per operator type, largest first."""
        return dict(sorted(self._sum("operator").items(), key=lambda item: -item[1]))

    def _sum(self, key: Literal["layer", "operator"]) -> dict[str, float]:
        sums: dict[str, float] = {}
        for each in self.operators:
            name = each.layer if key == "layer" else each.operator
            sums[name] = sums.get(name, 0.0) + each.ms
        return sums
