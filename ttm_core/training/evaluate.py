"""Accuracy of student and teacher on the same images, before, during and after training."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ttm_core.data.batches import full_images
from ttm_core.data.dataset import Dataset, Split
from ttm_core.errors import BadDataset
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.load import Teacher
from ttm_core.precision import Precision, forward
from ttm_core.report.costs import describe_model, sum_costs
from ttm_core.report.damage.record import PredictionRecorder
from ttm_core.report.schema import Model, SplitScores
from ttm_core.report.scores import BatchPredictions, compare
from ttm_core.spec.events import Accuracy, Reference
from ttm_core.teacher_store.evaluation import evaluation_logits
from ttm_core.teacher_store.store import Stores
from ttm_core.training.distributed import ONE_PROCESS, Distributed

_BATCH = 256

# The teacher's logits of the validation split are kept for the report up to this size in bytes.
_KEPT_LOGITS_BYTES = 256 * 2**20


def evaluate(
    model: nn.Module,
    split: Split,
    preprocess: Preprocess,
    *,
    size: int,
    device: torch.device,
    precision: Precision = "float32",
    distributed: Distributed = ONE_PROCESS,
) -> Accuracy:
    """Top-1 accuracy and mean cross-entropy (nats) over a split's full images, resized to `size` pixels.

    Where `distributed` has several processes, all of them call this function with equal models. Each evaluates its
    share of the images and returns the result of all.
    """
    share = replace(split, indices=split.indices[distributed.shard(len(split))])
    batches = predict(model, share, preprocess, size=size, device=device, precision=precision)
    return accuracy(batches, split.against, distributed)


@torch.inference_mode()
def predict(
    model: nn.Module,
    split: Split,
    preprocess: Preprocess,
    *,
    size: int,
    device: torch.device,
    precision: Precision = "float32",
) -> Iterator[BatchPredictions]:
    """Yields a model's logits by batches of neighboring full images, resized to `size` pixels.

    The model is in evaluation mode until the iterator ends.
    """
    was_training = model.training
    model.eval()
    try:
        parts = (split.indices[start : start + _BATCH] for start in range(0, len(split), _BATCH))
        for batch in full_images(split, parts, size=size, device=device):
            yield BatchPredictions([forward(model, preprocess, batch.pixels, precision)], batch.labels)
    finally:
        model.train(was_training)


def accuracy(
    batches: Iterable[BatchPredictions], against: Reference = "labels", distributed: Distributed = ONE_PROCESS
) -> Accuracy:
    """Accuracy of the first classifier over all batches of all processes."""
    images, correct, loss = 0, 0, 0.0
    for batch in batches:
        logits = batch.logits[0]
        images += len(logits)
        correct += int((logits.argmax(1) == batch.labels).sum())
        loss += float(functional.cross_entropy(logits, batch.labels, reduction="sum"))
    sums = torch.tensor([images, correct, loss], dtype=torch.float64)  # exact for any number of images
    images, correct, loss = distributed.all_reduce(sums).tolist()
    return Accuracy(top1=correct / images, loss=loss / images, images=int(images), against=against)


def correct_images(model: nn.Module, split: Split, preprocess: Preprocess, *, device: torch.device) -> str:
    """`correct_mask` as base64 of one bit an image, the first in the highest."""
    mask = correct_mask(model, split, preprocess, device=device)
    return b64encode(np.packbits(mask.numpy()).tobytes()).decode()


def correct_mask(model: nn.Module, split: Split, preprocess: Preprocess, *, device: torch.device) -> torch.Tensor:
    """bool [N]: which images of a split the model classifies correctly."""
    batches = predict(model, split, preprocess, size=preprocess.image_size, device=device)
    return torch.cat([(batch.logits[0].argmax(1) == batch.labels).cpu() for batch in batches])


def chance_accuracy(split: Split) -> float:
    """The best top-1 accuracy of a constant prediction: the share of the split's largest class.

    1 / classes would be lower on unbalanced data, where a broken teacher that predicts one class exceeds it.
    """
    labels = split.labels[torch.from_numpy(split.indices)]
    return float(torch.bincount(labels).max()) / len(labels)


@dataclass
class Evaluator:
    """Evaluates student and teacher on full images, each at its own input size."""

    preprocess: Preprocess
    teacher: Teacher | None
    validation: Split
    class_names: list[str]
    device: torch.device
    precision: Precision  # of the student during training; its final scores are those of the float32 file
    teacher_precision: Precision
    stores: Stores | None = None  # where the teacher's logits are kept for other runs
    _teacher_logits: list[torch.Tensor] | None = field(default=None, init=False)  # of the validation split

    def measure_teacher(self) -> Accuracy | None:
        """The teacher's validation accuracy; None without a teacher, or where its predictions are the labels."""
        if self.teacher is None or self.validation.against == "teacher":
            return None
        logits: Iterable[torch.Tensor] = self._logits_of(self.teacher, self.validation)
        if 4 * len(self.validation) * self.teacher.classes <= _KEPT_LOGITS_BYTES:
            logits = self._teacher_logits = list(logits)
        labels = self.validation.labels[torch.from_numpy(self.validation.indices)].to(self.device).split(_BATCH)
        return accuracy(BatchPredictions([each], true) for each, true in zip(logits, labels, strict=True))

    @property
    def teacher_predictions(self) -> torch.Tensor | None:
        """The teacher's classes of the validation images, int64 [N] on the CPU; None where its logits were not kept."""
        kept = self._teacher_logits
        return None if kept is None else torch.cat([each.argmax(1).cpu() for each in kept])

    def teacher_accuracy(self, teacher: Teacher, split: Split) -> float:
        """Top-1 accuracy of a teacher on a labelled split."""
        predicted = torch.cat([each.argmax(1).cpu() for each in self._logits_of(teacher, split)])
        return float((predicted == split.labels[torch.from_numpy(split.indices)]).double().mean())

    def validate(self, student: nn.Module, distributed: Distributed) -> Accuracy:
        """The student's validation accuracy, for which the processes of the run divide the images."""
        return evaluate(
            student,
            self.validation,
            self.preprocess,
            size=self.preprocess.image_size,
            device=self.device,
            precision=self.precision,
            distributed=distributed,
        )

    def compare(self, student: nn.Module, split: Split, recorder: PredictionRecorder | None = None) -> SplitScores:
        """Scores of student and teacher on a split; reuses the teacher's validation logits where they were kept.

        `recorder` keeps the predictions.
        """
        batches = predict(student, split, self.preprocess, size=self.preprocess.image_size, device=self.device)
        if self.teacher is not None:
            kept = self._teacher_logits if split is self.validation else None
            logits = self._logits_of(self.teacher, split) if kept is None else kept
            batches = (
                BatchPredictions([*batch.logits, each], batch.labels)
                for batch, each in zip(batches, logits, strict=True)
            )
        if recorder is not None:
            batches = recorder.record(batches)
        return compare(batches, self.class_names, split.against)

    def _logits_of(self, teacher: Teacher, split: Split) -> Iterator[torch.Tensor]:
        return evaluation_logits(
            teacher,
            split,
            self.stores,
            batch=_BATCH,
            device=self.device,
            precision=self.teacher_precision,
        )


def label_with_teacher(
    dataset: Dataset,
    teacher: Teacher | None,
    *,
    device: torch.device,
    precision: Precision = "float32",
    stores: Stores | None = None,
) -> Dataset:
    """The dataset with the teacher's predictions as the labels of unlabelled validation and test splits.

    `stores` keep the teacher's logits for other runs.

    Raises:
        BadDataset: a split has no labels and there is no teacher.
    """

    def label(split: Split | None) -> Split | None:
        if split is None or split.labelled:
            return split
        if teacher is None:
            raise BadDataset(
                "the validation or test images have no labels, and without a teacher nothing can evaluate the student: "
                "set `teacher`, or remove these images from the dataset"
            )
        logits = evaluation_logits(teacher, split, stores, batch=_BATCH, device=device, precision=precision)
        labels = split.labels.clone()
        labels[torch.from_numpy(split.indices)] = torch.cat([each.argmax(1).cpu() for each in logits])
        return replace(split, labels=labels, against="teacher")

    return replace(dataset, validation=label(dataset.validation), test=label(dataset.test))


def describe_teachers(teachers: Sequence[Teacher], files: Sequence[Path | None]) -> Model | None:
    """Size and cost of all teachers added up; None without one. A file is None for weights that timm published."""
    if not teachers:
        return None
    return sum_costs(
        [
            describe_model(
                teacher.structure or teacher.architecture,
                teacher.preprocess,
                parameters=teacher.parameters,
                file_bytes=path.stat().st_size if path is not None else 4 * teacher.parameters,  # float32
            )
            for teacher, path in zip(teachers, files, strict=True)
        ]
    )
