"""Measurements of a run's ONNX files, as events and in reports. Torch-free."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from ttm_core.spec.speed.verdict import Precision, Timing
from ttm_measure.schema import Measurement


class FileMeasurement(Measurement):
    """A measurement of one of the run's files on a named device."""

    file: str
    device: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")

    @property
    def timing(self) -> Timing:
        """What the recommendation compares."""
        return Timing(
            device=self.device,
            file=self.file,
            batch=self.batch,
            threads=self.threads,
            p50_ms=self.p50_ms,
            relative_error=self.relative_error,
        )


def single_image(measurements: Sequence[FileMeasurement]) -> FileMeasurement | None:
    """The measurement of the float32 file for one image, with the fewest threads measured; None without it."""
    timed = [each for each in measurements if each.precision == "fp32" and each.batch == 1]
    return min(timed, key=lambda each: each.threads, default=None)


def single_image_ms(measurements: Sequence[FileMeasurement]) -> float | None:
    """The median of that measurement in ms; None without it."""
    timed = single_image(measurements)
    return timed.p50_ms if timed else None


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PartTime(_Part):
    """Milliseconds of a layer or of an operator type in one run."""

    name: str
    ms: float = Field(ge=0, allow_inf_nan=False)


class FileProfile(_Part):
    """Where the milliseconds go in one file, from ONNX Runtime's profiler. The profiler adds time to each node."""

    file: str
    precision: Precision
    batch: int
    threads: int
    layers: list[PartTime] = Field(description="By layer or block, in execution order.")
    operators: list[PartTime] = Field(description="By operator type, largest first.")
