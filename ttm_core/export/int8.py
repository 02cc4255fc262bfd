"""Exports the student to int8 ONNX by post-training quantization."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttm_core.data.dataset import Split
from ttm_core.models.preprocess import Preprocess
from ttm_core.quantization.post_training import Candidate, quantize
from ttm_core.report.schema import Quantization, QuantizationCandidate

CALIBRATION_IMAGES, VALIDATION_IMAGES = 256, 512
_BATCH = 32


def write_int8(float_onnx: Path, path: Path, train: Split, validation: Split, pixels: Preprocess) -> Quantization:
    """Quantizes an exported ONNX file: int8 weights per channel, uint8 activations, in the QDQ format.

    Up to 256 full, unaugmented training images set the ranges of activations in several ways; up to 512 validation
    images decide between them.
    """
    calibration = _Batches.read(train, CALIBRATION_IMAGES, pixels)
    chosen_by = _Batches.read(validation, VALIDATION_IMAGES, pixels)
    found = quantize(float_onnx, path, calibration, chosen_by)
    return Quantization(
        calibration_images=len(calibration.images),
        validation_images=len(chosen_by.images),
        chosen=_described(found.chosen),
        tried=[_described(each) for each in found.tried],
    )


def write_uncompared_int8(float_onnx: Path, path: Path, train: Split, pixels: Preprocess) -> None:
    """Quantizes an exported ONNX file in one way, to measure its speed and size and not its accuracy."""
    images = _Batches.read(train, CALIBRATION_IMAGES, pixels)
    quantize(float_onnx, path, images, images, calibrations=["min_max"], float_layers=False)


@dataclass(frozen=True)
class _Batches:
    """Images that can be iterated several times; stored as uint8, a quarter of their size as floats."""

    images: Tensor
    pixels: Preprocess

    @classmethod
    def read(cls, split: Split, count: int, pixels: Preprocess) -> "_Batches":
        """Up to `count` images of a split at even distances, since image folders are sorted by class."""
        indices = split.indices
        if len(indices) > count:
            indices = indices[np.linspace(0, len(indices) - 1, count).round().astype(np.int64)]
        parts = [
            split.images.center_squares(indices[start : start + _BATCH], pixels.image_size)
            for start in range(0, len(indices), _BATCH)
        ]
        return cls(torch.cat(parts), pixels)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for batch in self.images.split(_BATCH):
            yield np.ascontiguousarray(self.pixels(batch).numpy())


def _described(candidate: Candidate) -> QuantizationCandidate:
    return QuantizationCandidate.model_validate(asdict(candidate))
