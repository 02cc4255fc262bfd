"""Keeps both models' most probable classes while a split is evaluated."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttm_core.report.scores import BatchPredictions

TOP = 3


@dataclass(frozen=True)
class TopClasses:
    """The most probable classes of n images, in descending order."""

    classes: NDArray[np.int64]  # [N, at most TOP]
    probabilities: NDArray[np.float32]  # [N, at most TOP]


@dataclass(frozen=True)
class Recorded:
    """Labels and predictions of n images."""

    labels: NDArray[np.int64]  # [N]
    student: TopClasses
    teacher: TopClasses | None


class PredictionRecorder:
    """Records the batches that pass through `record`. Needs about 80 bytes an image."""

    def __init__(self) -> None:
        self._labels: list[Tensor] = []
        self._tops: list[list[tuple[Tensor, Tensor]]] = []

    def record(self, batches: Iterable[BatchPredictions]) -> Iterator[BatchPredictions]:
        """Yields the batches unchanged."""
        for batch in batches:
            self._labels.append(batch.labels.cpu())
            self._tops.append([_top(logits) for logits in batch.logits])
            yield batch

    def recorded(self) -> Recorded:
        """Everything so far, in order."""
        student, *teacher = (
            TopClasses(
                torch.cat([classes for classes, _ in parts]).numpy(),
                torch.cat([probabilities for _, probabilities in parts]).numpy(),
            )
            for parts in zip(*self._tops, strict=True)
        )
        return Recorded(torch.cat(self._labels).numpy(), student, teacher[0] if teacher else None)


def _top(logits: Tensor) -> tuple[Tensor, Tensor]:
    # A stable sort, so that the first of equal logits comes first, as with argmax in the scores.
    classes = logits.sort(dim=1, descending=True, stable=True).indices[:, :TOP]
    return classes.cpu(), logits.double().softmax(1).gather(1, classes).float().cpu()
