"""Accuracy of student and teacher on the same images, before, during and after training."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from ttm_core.data.dataset import Dataset, Split
from ttm_core.errors import BadDataset
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.load import Teacher
from ttm_core.precision import Precision, autocast
from ttm_core.report.costs import describe_model, sum_costs
from ttm_core.report.schema import Model, SplitScores
from ttm_core.report.scores import BatchPredictions, compare
from ttm_core.spec.events import Accuracy, Reference

_BATCH = 256

# The teacher's logits of the validation split are kept for the report up to this size in bytes.
_KEPT_LOGITS_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Classifier:
    """A model with its preprocessing and the precision of its forward pass."""

    model: nn.Module
    preprocess: Preprocess
    precision: Precision = "float32"


def evaluate(
    model: nn.Module,
    split: Split,
    preprocess: Preprocess,
    *,
    size: int,
    device: torch.device,
    precision: Precision = "float32",
) -> Accuracy:
    """Top-1 accuracy and mean cross-entropy (nats) over a split's full images, resized to `size` pixels."""
    return accuracy(predict([Classifier(model, preprocess, precision)], split, size=size, device=device), split.against)


@torch.inference_mode()
def predict(
    classifiers: Sequence[Classifier], split: Split, *, size: int, device: torch.device
) -> Iterator[BatchPredictions]:
    """Yields the classifiers' logits by batches of neighboring full images, resized to `size` pixels.

    Each image is read once for all classifiers. The models are in evaluation mode until the iterator ends.
    """
    were_training = [classifier.model.training for classifier in classifiers]
    for classifier in classifiers:
        classifier.model.eval()
    try:
        for start in range(0, len(split), _BATCH):
            indices = split.indices[start : start + _BATCH]
            pixels = split.images.center_squares(indices, size).to(device)
            logits = [_logits(classifier, pixels) for classifier in classifiers]
            yield BatchPredictions(logits, split.labels[torch.from_numpy(indices)].to(device))
    finally:
        for classifier, was_training in zip(classifiers, were_training, strict=True):
            classifier.model.train(was_training)


def _logits(classifier: Classifier, pixels: torch.Tensor) -> torch.Tensor:
    with autocast(pixels.device, classifier.precision):
        logits: torch.Tensor = classifier.model(classifier.preprocess(pixels))
    return logits.float()


def accuracy(batches: Iterable[BatchPredictions], against: Reference = "labels") -> Accuracy:
    """Accuracy of the first classifier over all batches."""
    images, correct, loss = 0, 0, 0.0
    for batch in batches:
        logits = batch.logits[0]
        images += len(logits)
        correct += int((logits.argmax(1) == batch.labels).sum())
        loss += float(functional.cross_entropy(logits, batch.labels, reduction="sum"))
    return Accuracy(top1=correct / images, loss=loss / images, images=images, against=against)


def chance_accuracy(split: Split) -> float:
    """The best top-1 accuracy of a constant prediction: the share of the split's largest class.

    1 / classes would be lower on unbalanced data, where a broken teacher that predicts one class exceeds it.
    """
    labels = split.labels[torch.from_numpy(split.indices)]
    return float(torch.bincount(labels).max()) / len(labels)


def wilson_interval(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share observed among `count` images; 95 % by default."""
    center = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    margin = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return center - margin, center + margin


@dataclass
class Evaluator:
    """Evaluates student and teacher on full images at the student's input size."""

    preprocess: Preprocess
    teacher: Teacher | None
    validation: Split
    class_names: list[str]
    device: torch.device
    precision: Precision  # of the student during training; its final scores are those of the float32 file
    teacher_precision: Precision
    _teacher_logits: list[BatchPredictions] | None = field(default=None, init=False)  # of the validation split

    def measure_teacher(self) -> Accuracy | None:
        """The teacher's validation accuracy; None without a teacher, or where its predictions are the labels."""
        if self.teacher is None or self.validation.against == "teacher":
            return None
        batches: Iterable[BatchPredictions] = predict(
            [Classifier(self.teacher.model, self.teacher.preprocess, self.teacher_precision)],
            self.validation,
            size=self.preprocess.image_size,
            device=self.device,
        )
        if 4 * len(self.validation) * self.teacher.classes <= _KEPT_LOGITS_BYTES:
            batches = self._teacher_logits = list(batches)
        return accuracy(batches)

    def validate(self, student: nn.Module) -> Accuracy:
        """The student's validation accuracy."""
        return evaluate(
            student,
            self.validation,
            self.preprocess,
            size=self.preprocess.image_size,
            device=self.device,
            precision=self.precision,
        )

    def compare(self, student: nn.Module, split: Split) -> SplitScores:
        """Scores of student and teacher on a split; reuses the teacher's validation logits where they were kept."""
        known = self._teacher_logits if split is self.validation else None
        classifiers = [Classifier(student, self.preprocess)]
        if self.teacher is not None and known is None:
            classifiers.append(Classifier(self.teacher.model, self.teacher.preprocess, self.teacher_precision))
        batches = predict(classifiers, split, size=self.preprocess.image_size, device=self.device)
        if known is not None:
            batches = (
                BatchPredictions([*batch.logits, *teacher.logits], batch.labels)
                for batch, teacher in zip(batches, known, strict=True)
            )
        return compare(batches, self.class_names, split.against)


def label_with_teacher(
    dataset: Dataset,
    teacher: Teacher | None,
    *,
    size: int,
    device: torch.device,
    precision: Precision = "float32",
) -> Dataset:
    """The dataset with the teacher's predictions as the labels of unlabelled validation and test splits.

    Args:
        size: side of the student's views in pixels.

    Raises:
        BadDataset: a split has no labels and there is no teacher.
    """

    def label(split: Split | None) -> Split | None:
        if split is None or split.labelled:
            return split
        if teacher is None:
            raise BadDataset(
                "the validation or test images have no labels, and without a teacher nothing can evaluate the student"
            )
        classifier = Classifier(teacher.model, teacher.preprocess, precision)
        batches = predict([classifier], split, size=size, device=device)
        labels = split.labels.clone()
        labels[torch.from_numpy(split.indices)] = torch.cat([batch.logits[0].argmax(1).cpu() for batch in batches])
        return replace(split, labels=labels, against="teacher")

    return replace(dataset, validation=label(dataset.validation), test=label(dataset.test))


def describe_teachers(teachers: Sequence[Teacher], files: Sequence[Path | None]) -> Model | None:
    """Size and cost of all teachers added up; None without one. A file is None for weights that timm published."""
    if not teachers:
        return None
    costs = []
    for teacher, path in zip(teachers, files, strict=True):
        assert teacher.structure is not None, "each is a single model"
        described = describe_model(
            teacher.structure,
            teacher.preprocess,
            parameters=teacher.parameters,
            file_bytes=path.stat().st_size if path is not None else 4 * teacher.parameters,  # float32
        )
        costs.append(described)
    return sum_costs(costs)
