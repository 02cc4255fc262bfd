"""Schemas of measurements."""

import math
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from api.http.types import SOME_TEXT
from ttm_core.spec.base import StrictModel
from ttm_core.spec.speed.verdict import Precision, Recommendation

DEVICE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_THROUGHPUT_TOLERANCE = 0.01
_NANOSECOND_MS, _DAY_MS = 1e-6, 86_400_000.0

Text = Annotated[str, Field(min_length=1, max_length=200, pattern=SOME_TEXT)]
Milliseconds = Annotated[float, Field(ge=_NANOSECOND_MS, le=_DAY_MS, allow_inf_nan=False)]
_EXAMPLE: JsonDict = {
    "sha256": "0" * 64,
    "runtime": "onnxruntime",
    "runtime_version": "1.32.0",
    "provider": "CPUExecutionProvider",
    "cpu": "Raspberry Pi 5 Model B Rev 1.0",
    "precision": "int8",
    "batch": 1,
    "threads": 4,
    "pinned": True,
    "p50_ms": 2.0,
    "p90_ms": 2.2,
    "throughput": 500.0,
    "repeats": 200,
    "relative_error": 0.01,
    "load_ms": 31.5,
    "peak_memory_bytes": 11_534_336,
}


class MeasuredValues(StrictModel):
    """Latency and memory of one ONNX file at one batch size and number of threads, as measured by `ttm_measure`."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(description="SHA-256 of the measured file.")
    runtime: Literal["onnxruntime"]
    runtime_version: Annotated[str, Field(pattern=r"^[0-9A-Za-z.+-]{1,32}$")]
    provider: Annotated[str, Field(pattern=r"^[A-Za-z]{1,64}$")] = Field(
        description="Execution provider of ONNX Runtime."
    )
    cpu: Text = Field(description="Model of the CPU or board.")
    precision: Precision
    batch: Annotated[int, Field(ge=1, le=65_536)] = Field(description="Images per run.")
    threads: Annotated[int, Field(ge=1, le=4096)]
    pinned: bool = Field(description="Whether the process was pinned to as many cores as threads.")
    p50_ms: Milliseconds = Field(description="Median latency of a batch in ms.")
    p90_ms: Milliseconds = Field(description="90th percentile of the latency in ms; at least the median.")
    throughput: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        description="Images per second at the median latency: 1000 * batch / p50_ms, within 1 %."
    )
    repeats: Annotated[int, Field(ge=1, le=10**9)] = Field(description="Timed runs.")
    relative_error: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = Field(
        description="Half the width of the 95 % confidence interval of the median, divided by the median."
    )
    load_ms: Milliseconds = Field(description="Time to load the model in ms.")
    peak_memory_bytes: Annotated[int, Field(ge=0, le=2**50)] | None = Field(
        None, description="Peak resident memory that the model adds to its process; null if not known."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.p90_ms < self.p50_ms:
            raise ValueError("p90_ms must be at least p50_ms")
        expected = 1000 * self.batch / self.p50_ms
        if not math.isclose(self.throughput, expected, rel_tol=_THROUGHPUT_TOLERANCE):
            raise ValueError(f"throughput must be 1000 * batch / p50_ms ({expected:.6g}), within 1 %")
        return self


class MeasurementRequest(MeasuredValues):
    """A measurement of an artifact of the job on a device."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"artifact": "student-int8.onnx", "device": "pi5", **_EXAMPLE}}
    )

    artifact: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,195}\.onnx$")] = Field(
        description="Name of the measured artifact."
    )
    device: Annotated[str, Field(pattern=DEVICE_NAME)] = Field(description="Name of the device.")


class MeasurementOut(BaseModel):
    """Latency and memory of an artifact on a device."""

    artifact: str
    device: str
    sha256: str
    runtime: str
    runtime_version: str
    provider: str
    cpu: str
    precision: Precision
    batch: int
    threads: int
    pinned: bool
    p50_ms: float = Field(description="Median latency of a batch in ms.")
    p90_ms: float = Field(description="90th percentile of the latency in ms.")
    throughput: float = Field(description="Images per second at the median latency.")
    repeats: int
    relative_error: float = Field(
        description="Half the width of the 95 % confidence interval of the median, divided by the median."
    )
    load_ms: float
    peak_memory_bytes: int | None
    created_at: datetime
    created_by: str | None = Field(description="Name of the API key, or `worker`.")


class MeasurementList(BaseModel):
    """The measurements of a job's ONNX artifacts and a recommendation per device. The list is not paginated."""

    items: list[MeasurementOut] = Field(description="By device, artifact, batch and threads.")
    recommendations: list[Recommendation] = Field(
        description="The file to ship on each device. Empty for a job without a report."
    )
