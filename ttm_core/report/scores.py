"""Scores of student and teacher on the same images, as sums over batches: memory does not grow with the split."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ttm_core.report.schema import ClassScores, Scores, SplitScores, accuracy_change
from ttm_core.spec.events import Reference

_BINS = 15
_LOST = 10


@dataclass(frozen=True)
class BatchPredictions:
    """Logits of one or more classifiers for the same batch."""

    logits: list[Tensor]  # float32 [B, C] of each classifier
    labels: Tensor  # int64 [B]


def compare(batches: Iterable[BatchPredictions], class_names: list[str], against: Reference = "labels") -> SplitScores:
    """Scores of a split from logits: the student's first, then the teacher's where there is one.

    A teacher gets no scores if its own predictions are the labels.
    """
    student, teacher = ScoreAccumulator(len(class_names)), ScoreAccumulator(len(class_names))
    agreed, divergence = 0, 0.0
    for batch in batches:
        student_logits, *others = batch.logits
        student.add(student_logits, batch.labels)
        for teacher_logits in others:
            teacher.add(teacher_logits, batch.labels)
            agreed += int((student_logits.argmax(1) == teacher_logits.argmax(1)).sum())
            divergence += _divergence(teacher_logits, student_logits)
    has_teacher = teacher.images > 0
    scored = has_teacher and against == "labels"
    teacher_per_class = teacher.per_class() if scored else [None] * len(class_names)
    classes = [
        ClassScores(name=name, images=count, student=student_top1, teacher=teacher_top1)
        for name, count, student_top1, teacher_top1 in zip(
            class_names, student.images_per_class(), student.per_class(), teacher_per_class, strict=True
        )
    ]
    student_scores, teacher_scores = student.scores(), teacher.scores() if scored else None
    change_points, retention_percent = accuracy_change(student_scores, teacher_scores)
    return SplitScores(
        images=student.images,
        against=against,
        student=student_scores,
        teacher=teacher_scores,
        change_points=change_points,
        retention_percent=retention_percent,
        agreement=agreed / student.images if has_teacher else None,
        divergence=divergence / student.images if has_teacher else None,
        classes=classes,
        lost_most=_lost_most(classes),
    )


def _divergence(teacher: Tensor, student: Tensor) -> float:
    """KL(teacher || student) in nats of logits [B, C], summed over the batch, in float64."""
    log_p, log_q = teacher.double().log_softmax(1), student.double().log_softmax(1)
    return float(functional.kl_div(log_q, log_p, reduction="sum", log_target=True))


class ScoreAccumulator:
    """Adds up one classifier's scores batch by batch."""

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._loss = 0.0
        self._top5 = 0
        self._images = torch.zeros(num_classes, dtype=torch.int64)  # [C]
        self._correct = torch.zeros(num_classes, dtype=torch.int64)  # [C]
        self._excess = torch.zeros(_BINS, dtype=torch.float64)  # confidences minus hits, summed by bin

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: float32 [B, C] and int64 [B]."""
        self._loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
        confidence, predicted = logits.double().softmax(1).max(1)
        hits = predicted == labels
        if self._num_classes > 5:
            self._top5 += int((logits.topk(5).indices == labels[:, None]).sum())
        self._images += torch.bincount(labels, minlength=self._num_classes).cpu()
        self._correct += torch.bincount(labels[hits], minlength=self._num_classes).cpu()
        # Bins are open below and closed above: a confidence of 1 is in the last one.
        bins = (confidence * _BINS).ceil().long().sub(1).clamp(0, _BINS - 1)
        self._excess.index_add_(0, bins.cpu(), (confidence - hits.double()).cpu())

    @property
    def images(self) -> int:
        """Number of images added so far."""
        return int(self._images.sum())

    def scores(self) -> Scores:
        """Scores over all images added so far."""
        return Scores(
            top1=int(self._correct.sum()) / self.images,
            top5=self._top5 / self.images if self._num_classes > 5 else None,
            loss=self._loss / self.images,
            calibration_error=float(self._excess.abs().sum()) / self.images,
        )

    def images_per_class(self) -> list[int]:
        """[C] images of each class."""
        return self._images.tolist()

    def per_class(self) -> list[float | None]:
        """[C] top-1 accuracy among the images of each class; None for a class without images."""
        pairs = zip(self._correct.tolist(), self._images.tolist(), strict=True)
        return [correct / images if images else None for correct, images in pairs]


def _lost_most(classes: list[ClassScores]) -> list[str]:
    losses = [
        (row.teacher - row.student, row.name)
        for row in classes
        if row.teacher is not None and row.student is not None and row.teacher > row.student
    ]
    return [name for _, name in sorted(losses, key=lambda pair: (-pair[0], pair[1]))[:_LOST]]
