"""Recommends which exported file to ship on each measured device. Torch-free, so that the API can import it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["fp32", "fp16", "int8"]
PRECISION_NAMES: dict[str, str] = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
ACCEPTED_DROP_POINTS = 0.5
# Smaller differences of latency come from the machine's load.
_SAME_SPEED = 0.05
_SMALLER = 1.2


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ShippableFile(_Part):
    """An exported ONNX file. `top1` is its accuracy in [0, 1], None if it was not evaluated."""

    file: str
    precision: Precision
    size: int
    top1: float | None


class Timing(_Part):
    """A file's median latency on a device."""

    device: str
    file: str
    batch: int
    threads: int
    p50_ms: float
    relative_error: float


class Recommendation(_Part):
    """The file to ship on one device, compared at one batch size and number of threads."""

    device: str
    file: str
    precision: Precision
    batch: int
    threads: int
    speedup: float | None = Field(
        description="Latency of the float32 file divided by that of `file`, or of the fastest other file where `file` "
        "is the float32 file; below 1 that file is slower. Null if only one of them was measured."
    )
    change_points: float | None = Field(
        description="Top-1 of that other file minus the float32 file's, in percentage points."
    )
    size_ratio: float | None = Field(description="Bytes of the float32 file divided by those of the other file.")
    reason: str = Field(description="The recommendation with its reason, as a sentence.")


def files_of(report: Mapping[str, Any]) -> list[ShippableFile]:
    """The ONNX files of a report.json. Empty for a report of another version."""
    try:
        return [
            ShippableFile(file=each["file"], precision=each["precision"], size=each["size"], top1=each["top1"])
            for each in report["exports"]
            if each["size"] is not None and each["precision"] is not None
        ]
    except (KeyError, TypeError, ValueError):
        return []


def recommend(
    files: Sequence[ShippableFile], timings: Sequence[Timing], *, accepted_drop: float = ACCEPTED_DROP_POINTS
) -> list[Recommendation]:
    """One recommendation for each device that measured the float32 file or another one.

    The float32 file is the default. A smaller precision replaces it where it loses at most `accepted_drop` points of
    top-1 and is faster, or as fast and smaller. Among files of the same speed the smallest is recommended. Files are
    compared at the device's smallest batch and number of threads.

    Args:
        files: the exported files.
        timings: their latencies; a later one of the same file, device, batch and threads replaces an earlier one.
        accepted_drop: largest accepted loss of top-1 in percentage points.
    """
    by_device: dict[str, dict[tuple[int, int], dict[str, Timing]]] = {}
    for timing in timings:
        shapes = by_device.setdefault(timing.device, {})
        shapes.setdefault((timing.batch, timing.threads), {})[timing.file] = timing
    found = []
    for device, shapes in by_device.items():
        # More files at the same shape allow a comparison.
        (batch, threads), measured = min(shapes.items(), key=lambda item: (-len(_known(files, item[1])), item[0]))
        if known := _known(files, measured):
            found.append(_for_device(device, batch, threads, known, accepted_drop))
    return found


@dataclass(frozen=True)
class _Measured:
    file: ShippableFile
    timing: Timing

    @property
    def ms(self) -> float:
        return self.timing.p50_ms


def _known(files: Sequence[ShippableFile], timings: Mapping[str, Timing]) -> list[_Measured]:
    return [_Measured(file, timings[file.file]) for file in files if file.file in timings]


def _for_device(
    device: str, batch: int, threads: int, known: Sequence[_Measured], accepted_drop: float
) -> Recommendation:
    floats = [each for each in known if each.file.precision == "fp32"]
    others = sorted((each for each in known if each.file.precision != "fp32"), key=lambda each: each.ms)
    shape = {"device": device, "batch": batch, "threads": threads}
    if not floats or not others:
        only = (floats or others)[0]
        missing = "int8" if floats else "float32"
        reason = f"Ship {only.file.file}: {only.ms:.3g} ms. No {missing} file was measured on this device."
        nothing = {"speedup": None, "change_points": None, "size_ratio": None}
        return Recommendation(**shape, file=only.file.file, precision=only.file.precision, reason=reason, **nothing)
    baseline = floats[0]
    problems = {other.file.file: _problem(baseline, other, accepted_drop) for other in others}
    acceptable = [other for other in others if problems[other.file.file] is None]
    as_fast = [each for each in acceptable if not _faster(each, acceptable[0])]
    chosen = min(as_fast, key=lambda each: each.file.size, default=baseline)
    compared = others[0] if chosen is baseline else chosen
    reasons = [] if chosen is baseline else [_advantages(baseline, chosen)]
    reasons += [problem for problem in problems.values() if problem is not None]
    return Recommendation(
        **shape,
        file=chosen.file.file,
        precision=chosen.file.precision,
        speedup=round(baseline.ms / compared.ms, 4),
        change_points=_change(baseline, compared),
        size_ratio=round(baseline.file.size / compared.file.size, 4),
        reason=f"Ship {chosen.file.file}. {' '.join(reasons)}",
    )


def _problem(baseline: _Measured, other: _Measured, accepted_drop: float) -> str | None:
    """Why a file should not replace the float32 file; None if it should."""
    name, change = PRECISION_NAMES[other.file.precision], _change(baseline, other)
    if change is None:
        return f"Do not ship {name}: its accuracy is not known."
    if -change > accepted_drop:
        return f"Do not ship {name}: it loses {-change:.2f} points of top-1, more than the accepted {accepted_drop:g}."
    if other.ms / baseline.ms > 1 + _tolerance(baseline, other):
        return f"Do not ship {name} here: slower by {other.ms / baseline.ms:.2f}× ({_times(baseline, other)})."
    if not _faster(baseline, other) and baseline.file.size < _SMALLER * other.file.size:
        return f"Do not ship {name} here: neither faster ({_times(baseline, other)}) nor smaller."
    return None


def _advantages(baseline: _Measured, other: _Measured) -> str:
    name = PRECISION_NAMES[other.file.precision]
    speed = f"{baseline.ms / other.ms:.2f}× faster than" if _faster(baseline, other) else "as fast as"
    ratio = baseline.file.size / other.file.size
    size = f"{ratio:.1f}× smaller" if ratio >= 1 else f"{1 / ratio:.1f}× larger"
    change = _change(baseline, other)
    assert change is not None
    return f"{name} is {speed} float32 ({_times(baseline, other)}) and {size}; top-1 {change:+.2f} points."


def _times(baseline: _Measured, other: _Measured) -> str:
    return f"{other.ms:.3g} ms instead of {baseline.ms:.3g} ms"


def _faster(baseline: _Measured, other: _Measured) -> bool:
    return baseline.ms / other.ms > 1 + _tolerance(baseline, other)


def _tolerance(first: _Measured, second: _Measured) -> float:
    return max(_SAME_SPEED, first.timing.relative_error + second.timing.relative_error)


def _change(baseline: _Measured, other: _Measured) -> float | None:
    if baseline.file.top1 is None or other.file.top1 is None:
        return None
    return round(100 * (other.file.top1 - baseline.file.top1), 4)
