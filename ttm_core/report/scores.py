"""Student and teacher on the same images: sums over batches, so that memory does not grow with the split."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from ttm_core.report.schema import ClassScores, Scores, SplitScores
from ttm_core.spec.events import Reference
from ttm_core.training.evaluate import Evaluation

_BINS = 15
_LOST = 10


def compare(batches: Iterable[Evaluation], class_names: list[str], against: Reference = "labels") -> SplitScores:
    """Scores of a split from the logits of its images: the student's first, then the teacher's where there is one.

    Against its own answers a teacher has no scores.
    """
    student, teacher = Tally(len(class_names)), Tally(len(class_names))
    agreed, divergence = 0, 0.0
    for seen in batches:
        ours, *others = seen.logits
        student.add(ours, seen.labels)
        for wanted in others:
            teacher.add(wanted, seen.labels)
            agreed += int((ours.argmax(1) == wanted.argmax(1)).sum())
            divergence += _divergence(wanted, ours)
    taught = teacher.images > 0
    scored = taught and against == "labels"
    of_teacher = teacher.per_class() if scored else [None] * len(class_names)
    classes = [
        ClassScores(name=name, images=count, student=mine, teacher=its)
        for name, count, mine, its in zip(
            class_names, student.images_per_class(), student.per_class(), of_teacher, strict=True
        )
    ]
    return SplitScores(
        images=student.images,
        against=against,
        student=student.scores(),
        teacher=teacher.scores() if scored else None,
        agreement=agreed / student.images if taught else None,
        divergence=divergence / student.images if taught else None,
        classes=classes,
        lost_most=_lost_most(classes),
    )


def _divergence(teacher: Tensor, student: Tensor) -> float:
    """KL(teacher || student) in nats of logits [B, C], summed over the batch, in float64."""
    wanted, found = teacher.double().log_softmax(1), student.double().log_softmax(1)
    return float(functional.kl_div(found, wanted, reduction="sum", log_target=True))


class Tally:
    """What is counted of one model's logits."""

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._loss = 0.0
        self._top5 = 0
        self._images = torch.zeros(num_classes, dtype=torch.int64)  # [C]
        self._correct = torch.zeros(num_classes, dtype=torch.int64)  # [C]
        self._excess = torch.zeros(_BINS, dtype=torch.float64)  # confidences minus hits, summed by bin

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: float32 [B, C] and int64 [B]."""
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
        """How many were counted."""
        return int(self._images.sum())

    def scores(self) -> Scores:
        """Over all that was counted."""
        return Scores(
            top1=int(self._correct.sum()) / self.images,
            top5=self._top5 / self.images if self._num_classes > 5 else None,
            loss=self._loss / self.images,
            calibration_error=float(self._excess.abs().sum()) / self.images,
        )

    def images_per_class(self) -> list[int]:
        """[C]."""
        return self._images.tolist()

    def per_class(self) -> list[float | None]:
        """Top-1 accuracy among the images of each class; None where there were none."""
        pairs = zip(self._correct.tolist(), self._images.tolist(), strict=True)
        return [correct / images if images else None for correct, images in pairs]


def _lost_most(classes: list[ClassScores]) -> list[str]:
    gaps = [
        (known.teacher - known.student, known.name)
        for known in classes
        if known.teacher is not None and known.student is not None and known.teacher > known.student
    ]
    return [name for _, name in sorted(gaps, key=lambda pair: (-pair[0], pair[1]))[:_LOST]]
