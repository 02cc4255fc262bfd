"""The check of a teacher before its student is trained: chance level, weak classes, normalization and image size."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ttm_core.data.dataset import Split
from ttm_core.errors import BadCheckpoint, TeacherAtChance
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.load import Teacher
from ttm_core.models.timm_models import has_fixed_size
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.resolve import ResolvedRun
from ttm_core.spec import catalogue
from ttm_core.spec.events import (
    Accuracy,
    SuggestedImageSize,
    SuggestedNormalization,
    TeacherMeasured,
    WeakClass,
    wilson_interval,
)
from ttm_core.spec.normalization import PRESETS, Normalization
from ttm_core.training.evaluate import Evaluator, chance_accuracy

_TRIED = PRESETS | {
    "pixels in [0, 1]": Normalization(mean=[0.0] * 3, std=[1.0] * 3),
    "pixels in [0, 255]": Normalization(mean=[0.0] * 3, std=[1 / 255] * 3),
}
# A better teacher has the right normalization, or loses little by another.
_GOOD_ENOUGH = 0.95
_COMPARED_IMAGES = 128
_AT_ONCE = 16
_LEAST_STD = 0.001
_LISTED_CLASSES = 10


def check_teacher(run: ResolvedRun, evaluator: Evaluator, context: RunContext) -> Accuracy | None:
    """Measures the teacher on the validation split and reports what is wrong with it.

    Returns:
        Its accuracy; None without a teacher, or where its predictions are the labels.

    Raises:
        BadCheckpoint: its values are not finite.
        TeacherAtChance: it is no better than chance, and the spec does not allow that.
    """
    with context.activity("validating the teacher"):
        measured = context.distributed.run_on_main(evaluator.measure_teacher)
    if measured is None:
        return None
    _require_finite(measured)
    with context.activity("checking the teacher"):
        check = context.distributed.run_on_main(lambda: _describe_teacher(measured, evaluator, run.teachers))
    context.on_event(check)
    _report_teacher(check, context.log, context.warn)
    if not any(teacher.allow_chance for teacher in run.spec.all_teachers):
        _require_above_chance(check)
    return measured


def _require_finite(measured: Accuracy) -> None:
    """Raises BadCheckpoint for a teacher whose loss on the validation images is not finite."""
    if not math.isfinite(measured.loss):
        raise BadCheckpoint(
            f"The teacher returns NaN, infinite or huge values for validation images; its loss is {measured.loss}. "
            "Its weights are damaged or too large, or a standard deviation in teacher.normalization is too small."
        )


def _describe_teacher(measured: Accuracy, evaluator: Evaluator, teachers: Sequence[Teacher]) -> TeacherMeasured:
    """The accuracy of a teacher with its interval, chance, the classes that it knows much worse than the others, and a
    normalization and an image size with which it is clearly better.
    """
    low, high = wilson_interval(measured.top1, measured.images)
    trial = None
    if len(teachers) == 1 and measured.top1 < _GOOD_ENOUGH:
        trial = _Trial(evaluator, teachers[0], evaluator.validation.spread(_COMPARED_IMAGES))
    return TeacherMeasured(
        top1=measured.top1,
        loss=measured.loss,
        images=measured.images,
        low=low,
        high=high,
        chance=chance_accuracy(evaluator.validation),
        weak_classes=_weak_classes(evaluator, low),
        suggested_normalization=_better_normalization(trial) if trial is not None else None,
        suggested_image_size=_better_size(trial) if trial is not None else None,
    )


def _report_teacher(check: TeacherMeasured, info: Callable[[str], None], warn: Callable[[str], None]) -> None:
    """Logs a check in sentences."""
    info(
        f"the teacher classifies {check.top1:.1%} of {check.images} validation images correctly (95 % interval "
        f"{check.low:.1%} to {check.high:.1%}; chance is {check.chance:.1%})"
    )
    if check.weak_classes:
        listed = ", ".join(f"{each.name} {each.top1:.0%}" for each in check.weak_classes)
        warn(f"the teacher is much worse than its average on these classes: {listed}")
    found = check.suggested_normalization
    if found is not None:
        warn(
            f"with the normalization of {found.preset}, the teacher classifies {found.top1:.1%} of {found.images} "
            f"images correctly, against {found.current_top1:.1%} now. Set teacher.normalization to "
            f"mean {found.normalization.mean} and std {found.normalization.std} if it was trained with it"
        )
    larger = check.suggested_image_size
    if larger is not None:
        warn(
            f"with images of {larger.image_size} pixels, the teacher classifies {larger.top1:.1%} of {larger.images} "
            f"images correctly, against {larger.current_top1:.1%} now. Set teacher.image_size to {larger.image_size}"
        )


def _require_above_chance(check: TeacherMeasured) -> None:
    """Raises TeacherAtChance where the accuracy does not exceed the 95 % Wilson interval around chance."""
    _, high = wilson_interval(check.chance, check.images)
    if check.top1 > high:
        return
    found = check.suggested_normalization
    hint = "" if found is None else f" With the normalization of {found.preset} it is {found.top1:.1%}."
    larger = check.suggested_image_size
    if larger is not None:
        hint += f" With images of {larger.image_size} pixels it is {larger.top1:.1%}."
    raise TeacherAtChance(
        f"the teacher's top-1 accuracy on {check.images} validation images is {check.top1:.1%}, which is not "
        f"above chance ({check.chance:.1%}, the share of the largest class; 95 % interval up to {high:.1%}).{hint} "
        "Likely causes: a wrong teacher.normalization or teacher.image_size, classes in another order (give "
        "teacher.class_map), or the wrong checkpoint. Set teacher.allow_chance to true to train from this teacher"
    )


def _weak_classes(evaluator: Evaluator, low: float) -> list[WeakClass]:
    """Classes whose accuracy lies below half of the teacher's, with an interval that does not reach the teacher's."""
    predicted = evaluator.teacher_predictions
    if predicted is None:
        return []
    split = evaluator.validation
    labels = split.labels[torch.from_numpy(split.indices)]
    hits = (predicted == labels).double()
    count = torch.bincount(labels, minlength=len(evaluator.class_names))
    right = torch.bincount(labels, weights=hits, minlength=len(evaluator.class_names))
    weak = []
    for name, images, correct in zip(evaluator.class_names, count.tolist(), right.tolist(), strict=True):
        if images and wilson_interval(correct / images, images)[1] < low and correct / images < low / 2:
            weak.append(WeakClass(name=name, images=images, top1=correct / images))
    return sorted(weak, key=lambda each: each.top1)[:_LISTED_CLASSES]


@dataclass(frozen=True)
class _Trial:
    """Compares a teacher with itself with another input, on a few validation images."""

    evaluator: Evaluator
    teacher: Teacher
    split: Split

    @cached_property
    def current(self) -> float:
        """Its accuracy with the input that it has."""
        return self.evaluator.teacher_accuracy(self.teacher, self.split)

    def accuracy_if_better(self, **fields: Any) -> float | None:
        """Its accuracy with other fields of its preprocessing; None if it is not better by more than the intervals."""
        tried = replace(self.teacher, preprocess=replace(self.teacher.preprocess, **fields))
        top1 = self.evaluator.teacher_accuracy(tried, self.split)
        images = len(self.split)
        return top1 if wilson_interval(top1, images)[0] > wilson_interval(self.current, images)[1] else None


def _better_normalization(trial: _Trial) -> SuggestedNormalization | None:
    """The preset with which the teacher is clearly better; the best of several."""
    found: SuggestedNormalization | None = None
    for preset, normalization in _tried(trial.split, trial.teacher.preprocess).items():
        if normalization == trial.teacher.preprocess.normalization:
            continue
        top1 = trial.accuracy_if_better(normalization=normalization)
        if top1 is not None and (found is None or top1 > found.top1):
            found = SuggestedNormalization(
                preset=preset,
                normalization=normalization,
                top1=top1,
                current_top1=trial.current,
                images=len(trial.split),
            )
    return found


def _better_size(trial: _Trial) -> SuggestedImageSize | None:
    """The image size of the published weights of the teacher's architecture, if it is larger and the teacher is clearly
    better with it. None for a model of one size, and one compiled for its size.
    """
    teacher = trial.teacher
    if teacher.structure is None or teacher.compiled or has_fixed_size(teacher.architecture):
        return None
    size = catalogue.find(teacher.architecture).input_size[1]
    if size <= teacher.preprocess.image_size:
        return None
    top1 = trial.accuracy_if_better(image_size=size)
    if top1 is None:
        return None
    return SuggestedImageSize(image_size=size, top1=top1, current_top1=trial.current, images=len(trial.split))


def _tried(split: Split, preprocess: Preprocess) -> dict[str, Normalization]:
    """The presets, and the mean and standard deviation of the images as the teacher sees them, by name."""
    channels = preprocess.channels
    tried = {
        name: Normalization(
            mean=known.mean if channels == 3 else [sum(known.mean) / 3] * channels,
            std=known.std if channels == 3 else [sum(known.std) / 3] * channels,
        )
        for name, known in _TRIED.items()
    }
    return tried | {"the dataset's images": _measured(split, preprocess)}


def _measured(split: Split, preprocess: Preprocess) -> Normalization:
    """The mean and standard deviation of each channel of the images as a teacher sees them."""
    channels = preprocess.channels
    unit = replace(preprocess, normalization=Normalization(mean=[0.0] * channels, std=[1.0] * channels))
    sums = squares = torch.zeros(channels, dtype=torch.float64)
    for part in np.array_split(split.indices, max(len(split) // _AT_ONCE, 1)):
        pixels = unit(split.images.center_squares(part, preprocess.image_size)).double()
        sums = sums + len(part) * pixels.mean((0, 2, 3))
        squares = squares + len(part) * pixels.square().mean((0, 2, 3))
    mean = sums / len(split)
    std = (squares / len(split) - mean.square()).clamp(min=_LEAST_STD**2).sqrt()
    return Normalization(
        mean=[round(value, 4) for value in mean.tolist()], std=[round(value, 4) for value in std.tolist()]
    )
