"""Runs an exported file on images: its accuracy, and its agreement with the student."""

import torch
from torch import nn

from ttm_core.data.dataset import Split
from ttm_core.export.onnx import without_normalization
from ttm_core.export.student import Student
from ttm_core.models.preprocess import Preprocess
from ttm_core.training.evaluate import evaluate, predict

COMPARED_IMAGES = 512


class NotFinite(Exception):
    """An exported file returns logits that are not numbers."""


def top1(exported: nn.Module, split: Split, pixels: Preprocess) -> float:
    """The top-1 accuracy of an exported file, which takes what `pixels` returns, on a split."""
    return evaluate(exported, split, pixels, size=pixels.image_size, device=torch.device("cpu")).top1


def agreement(student: Student, exported: nn.Module, split: Split) -> float:
    """The share of up to 512 images of a split for which an exported file predicts the student's class.

    Args:
        student: the student, on the CPU.
        exported: runs the file on the CPU: float32 [B, C, H, W] pixels in [0, 1] -> [B, classes].
        split: the images.

    Raises:
        NotFinite: a logit of the file is NaN or infinite.
    """
    images = split.spread(COMPARED_IMAGES)
    expected = _logits(student.model, images, student.preprocess)
    found = _logits(exported, images, without_normalization(student.preprocess))
    if not bool(found.isfinite().all()):
        raise NotFinite(f"the logits of {int((~found.isfinite()).any(1).sum())} of {len(found)} images are not finite")
    return float((found.argmax(1) == expected.argmax(1)).float().mean())


def _logits(model: nn.Module, split: Split, preprocess: Preprocess) -> torch.Tensor:
    batches = predict(model, split, preprocess, size=preprocess.image_size, device=torch.device("cpu"))
    return torch.cat([batch.logits[0] for batch in batches])
