"""Exports the student to int8 ONNX by static post-training quantization."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import (  # type: ignore[import-untyped]
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process  # type: ignore[import-untyped]

from ttm_core.data.dataset import Split
from ttm_core.export.onnx import INPUT
from ttm_core.models.preprocess import Preprocess

CALIBRATION_IMAGES = 256
_BATCH = 32


def write_int8(float_onnx: Path, path: Path, train: Split, pixels: Preprocess) -> int:
    """Quantizes an exported ONNX file: int8 weights per channel, uint8 activations, in the QDQ format.

    Activation ranges are the minimum and maximum over up to 256 full, unaugmented training images.

    Returns:
        The number of calibration images.
    """
    indices = _spread(train.indices, CALIBRATION_IMAGES)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(float_onnx, prepared)
        quantize_static(
            prepared,
            path,
            _Reader(train, indices, pixels),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )
    return len(indices)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
    def __init__(self, train: Split, indices: NDArray[np.int64], pixels: Preprocess) -> None:
        self._batches = self._read(train, indices, pixels)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)

    @staticmethod
    def _read(train: Split, indices: NDArray[np.int64], pixels: Preprocess) -> Iterator[dict[str, NDArray[np.float32]]]:
        for start in range(0, len(indices), _BATCH):
            batch = train.images.center_squares(indices[start : start + _BATCH], pixels.image_size)
            yield {INPUT: np.ascontiguousarray(pixels(batch).numpy())}


def _spread(indices: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Up to `count` indices at even distances, since image folders are sorted by class."""
    if len(indices) <= count:
        return indices
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(np.int64)]
