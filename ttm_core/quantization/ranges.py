"""Ranges of activations for quantization: minimum and maximum, percentile, entropy, and least squared error."""

import contextlib
import io
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod  # type: ignore[import-untyped]
from onnxruntime.quantization.calibrate import create_calibrator  # type: ignore[import-untyped]

from ttm_core.export.onnx import INPUT
from ttm_core.quantization.entropy import FastHistogramCollector

Calibration = Literal["min_max", "percentile", "entropy", "mse"]
Range = tuple[float, float]

_BINS, _QUANTIZED_BINS = 512, 128
# The collector adds bins of equal width for larger values, without a limit. Entropy takes quadratic time.
_MAX_BINS = 4 * _BINS
_PERCENTILE = 99.99
# Of each tensor and batch, for the histograms. The minimum and maximum are of all values.
_SAMPLED = 2**15
_LEVELS = 255
# Of the last batch of each tensor, to find ranges that round many values up or down by chance.
_KEPT = 4096
# In steps of the quantization; float32 computes positions with an error of about 1e-5 steps.
_TIE = 1e-3
_MOST_TIES = 0.05
_CLIPPED_SHARES = np.linspace(0.0, 0.7, 57)


@dataclass(frozen=True)
class _Histogram:
    counts: NDArray[np.float64]
    centers: NDArray[np.float64]


class ActivationStatistics:
    """Histograms and ranges of all activations of an ONNX file on calibration images.

    Args:
        path: a float32 file that was prepared by ONNX Runtime's `quant_pre_process`.
        batches: float32 [B, C, H, W] pixels in [0, 1].
    """

    def __init__(self, path: Path, batches: Iterable[NDArray[np.float32]]) -> None:
        self._extremes: dict[str, Range] = {}
        self._last: dict[str, NDArray[np.float32]] = {}
        self._collector = FastHistogramCollector("entropy", False, _BINS, _QUANTIZED_BINS, _PERCENTILE, "same")
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            # Adds all activations to the outputs. Its own collect_data keeps those of all images in memory.
            calibrator = create_calibrator(
                path,
                augmented_model_path=str(Path(folder) / "augmented.onnx"),
                calibrate_method=CalibrationMethod.Percentile,
            )
            session, tensors = calibrator.infer_session, set(calibrator.tensors_to_calibrate)
            names = [output.name for output in session.get_outputs()]
            for batch in batches:
                values = dict(zip(names, session.run(None, {INPUT: batch}), strict=True)) | {INPUT: batch}
                self._add({name: value for name, value in values.items() if name in tensors and value.size})

    def ranges(self, method: Calibration) -> dict[str, Range]:
        """The range of each tensor by a calibration method; never wider than the values."""
        match method:
            case "min_max":
                return dict(self._extremes)
            case "percentile" | "entropy":
                self._collector.method = method
                with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
                    found = self._collector.compute_collection_result()
                return self._limited({name: (float(each[0]), float(each[1])) for name, each in found.items()})
            case "mse":
                return self._limited({name: self._least_squares(name) for name in self._extremes})
            case _:
                assert_never(method)

    def without_ties(self, ranges: Mapping[str, Range]) -> dict[str, Range]:
        """The ranges, a step wider where more than one in twenty values is halfway between two integers.

        Rounding errors decide how such values are quantized. Pixels that are normalized by a mean of 0.5 all are such
        values, because the zero point is an integer.
        """
        return {name: self._without_ties(name, low, high) for name, (low, high) in ranges.items()}

    def _without_ties(self, name: str, low: float, high: float) -> Range:
        values = self._last.get(name, np.zeros(0, np.float32)).astype(np.float64)
        step = (max(high, 0.0) - min(low, 0.0)) / _LEVELS
        if not len(values) or not step:
            return low, high
        fractions = values / step % 1
        if (np.abs(fractions - 0.5) < _TIE).mean() <= _MOST_TIES:
            return low, high
        return (low - step, high) if -low > high else (low, high + step)

    def _add(self, values: Mapping[str, NDArray[np.float32]]) -> None:
        samples = {}
        for name, value in values.items():
            low, high = float(value.min()), float(value.max())
            before = self._extremes.get(name, (low, high))
            self._extremes[name] = (min(low, before[0]), max(high, before[1]))
            flat = value.reshape(-1)
            # An odd step does not visit the same column of every row.
            samples[name] = flat[:: max(1, flat.size // _SAMPLED) | 1]
            self._widen(name, float(np.abs(samples[name]).max()))
            self._last[name] = samples[name][:_KEPT].copy()
        self._collector.collect_value(samples)

    def _widen(self, name: str, top: float) -> None:
        """Makes the bins of a tensor wider if it would get too many for values up to `top`."""
        if name not in self._collector.histogram_dict:
            return
        counts, edges, low, high, threshold = self._collector.histogram_dict[name]
        if threshold > 0 and len(counts) * top / threshold > _MAX_BINS:
            counts, edges = np.histogram((edges[:-1] + edges[1:]) / 2, _BINS, (-top, top), weights=counts)
            self._collector.histogram_dict[name] = counts, edges, low, high, top

    def _limited(self, ranges: Mapping[str, Range]) -> dict[str, Range]:
        limited = {}
        for name, (low, high) in ranges.items():
            least, most = self._extremes[name]
            limited[name] = (max(low, least), min(high, most))
        return limited

    def _least_squares(self, name: str) -> Range:
        """The clipped range with the least squared error of 8-bit quantization.

        The error is step^2 / 12 inside the range, and the squared distance to it outside.
        """
        counts, edges = self._collector.histogram_dict[name][:2]
        histogram = _Histogram(np.asarray(counts, np.float64), (np.asarray(edges[:-1]) + np.asarray(edges[1:])) / 2)
        low, high = self._extremes[name]
        errors = [_squared_error(histogram, (1 - share) * low, (1 - share) * high) for share in _CLIPPED_SHARES]
        share = _CLIPPED_SHARES[int(np.argmin(errors))]
        return float((1 - share) * low), float((1 - share) * high)


def _squared_error(histogram: _Histogram, low: float, high: float) -> float:
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / _LEVELS
    outside = histogram.centers - np.clip(histogram.centers, low, high)
    return float((histogram.counts * np.where(outside == 0, step**2 / 12, outside**2)).sum())
