"""Student and teacher evaluated on the same images, before, during and after training."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from ttm_core.data.dataset import Dataset, Split
from ttm_core.errors import BadDataset
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.load import Teacher
from ttm_core.report.costs import describe_model, summed
from ttm_core.report.schema import Model, SplitScores
from ttm_core.report.scores import compare
from ttm_core.spec.events import Accuracy
from ttm_core.training.evaluate import Evaluation, accuracy, evaluate, predictions

# Up to this many bytes, the teacher's logits of the validation split are kept for the report.
_KEPT_LOGITS_BYTES = 256 * 2**20


@dataclass
class Evaluator:
    """Measures on splits whose images are seen whole, at the student's size."""

    preprocess: Preprocess
    teacher: Teacher | None
    validation: Split
    class_names: list[str]
    device: torch.device
    _teacher_on_validation: list[Evaluation] | None = field(default=None, init=False)

    def measure_teacher(self) -> Accuracy | None:
        """On the validation split; None without a teacher, or where its own answers stand for labels."""
        if self.teacher is None or self.validation.against == "teacher":
            return None
        batches: Iterable[Evaluation] = predictions(
            [(self.teacher.model, self.teacher.preprocess)],
            self.validation,
            size=self.preprocess.image_size,
            device=self.device,
        )
        if 4 * len(self.validation) * self.teacher.classes <= _KEPT_LOGITS_BYTES:
            batches = self._teacher_on_validation = list(batches)
        return accuracy(batches)

    def validate(self, student: nn.Module) -> Accuracy:
        """On the validation split."""
        return evaluate(student, self.validation, self.preprocess, size=self.preprocess.image_size, device=self.device)

    def compare(self, student: nn.Module, split: Split) -> SplitScores:
        """Student beside teacher, whose logits may be known already."""
        known = self._teacher_on_validation if split is self.validation else None
        models = [(student, self.preprocess)]
        if self.teacher is not None and known is None:
            models.append((self.teacher.model, self.teacher.preprocess))
        batches = predictions(models, split, size=self.preprocess.image_size, device=self.device)
        if known is not None:
            batches = (
                Evaluation([*seen.logits, *of_teacher.logits], seen.labels)
                for seen, of_teacher in zip(batches, known, strict=True)
            )
        return compare(batches, self.class_names, split.against)


def labelled_by_teacher(dataset: Dataset, teacher: Teacher | None, *, size: int, device: torch.device) -> Dataset:
    """The dataset with the teacher's classes for labels of validation and test images that have none.

    `size` is the side of the student's views in pixels. Raises BadDataset where there is no teacher to ask.
    """

    def labelled(split: Split | None) -> Split | None:
        if split is None or split.labelled:
            return split
        if teacher is None:
            raise BadDataset(
                "there are images without labels to evaluator the student by, and no teacher to ask instead"
            )
        answers = predictions([(teacher.model, teacher.preprocess)], split, size=size, device=device)
        labels = split.labels.clone()
        labels[torch.from_numpy(split.indices)] = torch.cat([seen.logits[0].argmax(1).cpu() for seen in answers])
        return replace(split, labels=labels, against="teacher")

    return replace(dataset, validation=labelled(dataset.validation), test=labelled(dataset.test))


def describe_teachers(teachers: Sequence[Teacher], files: Sequence[Path | None], device: torch.device) -> Model | None:
    """What the teachers cost together; None without one. A file is None for weights that timm brought."""
    if not teachers:
        return None
    return summed(
        [
            describe_model(
                teacher.model,
                teacher.architecture,
                teacher.preprocess,
                num_classes=teacher.num_classes,
                parameters=teacher.parameters,
                file_bytes=path.stat().st_size if path is not None else 4 * teacher.parameters,  # float32
                device=device,
            )
            for teacher, path in zip(teachers, files, strict=True)
        ]
    )
