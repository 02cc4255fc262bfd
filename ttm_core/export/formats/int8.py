"""Exports the student to int8 ONNX: by post-training quantization, then by quantization-aware training if asked."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ttm_core.data.dataset import Split
from ttm_core.errors import NonFiniteLoss
from ttm_core.export.formats.agreement import top1
from ttm_core.export.onnx import OnnxModel
from ttm_core.models.preprocess import Preprocess
from ttm_core.quantization.fake_quantized import FakeQuantized, UnsupportedGraph
from ttm_core.quantization.post_training import Candidate, quantize
from ttm_core.report.schema import Quantization, QuantizationAware, QuantizationCandidate
from ttm_core.spec.speed.quantize import QuantizeSpec

CALIBRATION_IMAGES, VALIDATION_IMAGES = 256, 512
_BATCH = 32
# A few hundred images cannot show a loss of half a point of accuracy, but they show how many images change their class.
# docs/results.md has students that lost a tenth to a sixth of the changed images.
_CHANGED_PER_LOST = 4
# Between the module that was trained and the file in ONNX Runtime: its integer kernels round differently. The
# accuracy is measured on the file, so that a few images near a boundary between classes are no reason to reject it; a
# broken export differs on far more.
_SIMULATION_AGREEMENT = 0.98


Tune = Callable[[nn.Module], None]
"""Fine-tunes a module from pixels in [0, 1] to logits, in place, and keeps its best weights by validation."""


@dataclass(frozen=True)
class Int8Images:
    """Images for calibration and training, and for validation; `pixels` scales them to [0, 1]."""

    train: Split
    validation: Split
    pixels: Preprocess


def write_int8(
    float_onnx: Path, path: Path, images: Int8Images, spec: QuantizeSpec, tune: Tune | None = None
) -> Quantization:
    """Quantizes an exported ONNX file: int8 weights per channel, uint8 activations, in the QDQ format.

    Up to 256 full, unaugmented training images set the ranges of activations in several ways; up to 512 validation
    images decide between them. Where the spec asks for quantization-aware training, `tune` trains the quantized
    student, which replaces the file if its validation accuracy is higher.
    """
    calibration = _Batches.read(images.train, CALIBRATION_IMAGES, images.pixels)
    chosen_by = _Batches.read(images.validation, VALIDATION_IMAGES, images.pixels)
    found = quantize(float_onnx, path, calibration, chosen_by, labels=chosen_by.labels, accept_drop=spec.accept_drop)
    aware = None
    if tune is not None and _needs_training(found.chosen, float_onnx, path, images, spec):
        base = path
        if found.chosen.float_layers:  # all layers are trained in int8
            base, method = path.with_suffix(".base"), found.chosen.calibration
            quantize(float_onnx, base, calibration, chosen_by, calibrations=[method], float_layers=False)
        aware = _train(float_onnx, base, path, images, chosen_by, spec.epochs, tune)
    return Quantization(
        calibration_images=len(calibration.images),
        validation_images=len(chosen_by.images),
        validation_top1=_validated(path, images),
        chosen=_described(found.chosen),
        tried=[_described(each) for each in found.tried],
        aware=aware,
    )


def _needs_training(chosen: Candidate, float_onnx: Path, path: Path, images: Int8Images, spec: QuantizeSpec) -> bool:
    match spec.mode:
        case "none" | "post_training":
            return False
        case "aware":
            return True
        case "auto":
            if 100 * (1 - chosen.agreement) > _CHANGED_PER_LOST * spec.accept_drop:
                return True
            return 100 * (_validated(float_onnx, images) - _validated(path, images)) > spec.accept_drop
        case _:
            assert_never(spec.mode)


def _train(
    float_onnx: Path,
    base: Path,
    path: Path,
    images: Int8Images,
    compared: "_Batches",
    epochs: int,
    tune: Tune,
) -> QuantizationAware:
    """Trains the quantized graph `base` and replaces `path` by it if it is more accurate."""
    before = _validated(path, images)
    trained = path.with_suffix(".aware")
    try:
        student = FakeQuantized(base, float_onnx)
        tune(student)
        student.write(trained)
        after, agreement = _validated(trained, images), _agreement(student, OnnxModel(trained), compared)
    except (UnsupportedGraph, NonFiniteLoss) as error:
        return QuantizationAware(
            epochs=epochs, top1_before=before, top1_after=None, agreement=None, exported=False, reason=str(error)
        )
    exported = after > before and agreement >= _SIMULATION_AGREEMENT
    if exported:
        trained.replace(path)
    return QuantizationAware(
        epochs=epochs, top1_before=before, top1_after=after, agreement=agreement, exported=exported
    )


@torch.inference_mode()
def _agreement(first: nn.Module, second: nn.Module, batches: "_Batches") -> float:
    """The share of images for which two models predict the same class."""
    same = [first(batch).argmax(1) == second(batch).argmax(1) for batch in map(torch.from_numpy, batches)]
    return float(torch.cat(same).float().mean())


def _validated(path: Path, images: Int8Images) -> float:
    return top1(OnnxModel(path), images.validation, images.pixels)


def write_uncompared_int8(float_onnx: Path, path: Path, images: Tensor, pixels: Preprocess) -> None:
    """Quantizes an exported ONNX file in one way, to measure its speed and size and not its accuracy.

    Args:
        float_onnx: the exported file.
        path: the file to write.
        images: uint8 [B, C, H, W], which set the ranges of activations.
        pixels: scales them to [0, 1].
    """
    batches = _Batches(images, np.zeros(len(images), np.int64), pixels)
    quantize(float_onnx, path, batches, batches, calibrations=["min_max"], float_layers=False)


@dataclass(frozen=True)
class _Batches:
    """Images that can be iterated several times; stored as uint8, a quarter of their size as floats."""

    images: Tensor
    labels: NDArray[np.int64]
    pixels: Preprocess

    @classmethod
    def read(cls, split: Split, count: int, pixels: Preprocess) -> "_Batches":
        """Up to `count` images of a split at even distances."""
        indices = split.spread(count).indices
        parts = [
            split.images.center_squares(indices[start : start + _BATCH], pixels.image_size)
            for start in range(0, len(indices), _BATCH)
        ]
        return cls(torch.cat(parts), split.labels[torch.from_numpy(indices)].numpy(), pixels)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for batch in self.images.split(_BATCH):
            yield np.ascontiguousarray(self.pixels(batch).numpy())


def _described(candidate: Candidate) -> QuantizationCandidate:
    return QuantizationCandidate.model_validate(asdict(candidate))
