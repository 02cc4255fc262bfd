"""Decides the memory formats of student and teacher."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, cast

import torch

from ttm_core.hardware.adapt import adapt_to_device
from ttm_core.hardware.memory_format import TIMED_IMAGES, choose_memory_format
from ttm_core.models.build import build
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.load import Teacher
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.once import decide_once, measure_once
from ttm_core.precision import resolved_precision, resolved_teacher_precision
from ttm_core.spec.structure import ModelStructure
from ttm_core.spec.training.training import MemoryFormat, TrainingSpec

# A choice takes at most this share of a run's images.
_LARGEST_SHARE = 0.01


class MemoryFormats(TypedDict):
    """The fields of a resolved `training`."""

    memory_format: MemoryFormat
    teacher_memory_format: MemoryFormat


def resolve_memory_formats(
    training: TrainingSpec,
    context: RunContext,
    *,
    student: ModelStructure,
    preprocess: Preprocess,
    teachers: Sequence[Teacher],
    images: int,
) -> MemoryFormats:
    """The formats of student and teachers: the spec's, else those that the first attempt chose.

    A choice is kept in the data cache, so that equal runs on a machine give equal students and share stored logits.

    Args:
        training: resolved, except for the formats.
        context: the surroundings of the run.
        student: its structure; that of its teacher for a student that is cut out of it.
        preprocess: of the student.
        teachers: of the run.
        images: of the training split.
    """

    def student_format() -> MemoryFormat:
        precision = resolved_precision(training)

        def choose() -> MemoryFormat:
            with torch.random.fork_rng(devices=[]):
                model = build(student).to(context.device)
            adapt_to_device(model, preprocess, context.device, precision, train=True)
            return choose_memory_format([(model, preprocess)], context.device, precision, train=True)

        key = {"train": student.model_dump(mode="json"), "precision": precision}
        return _chosen(context, key, images * training.epoch_count, choose)

    def teacher_format() -> MemoryFormat:
        precision = resolved_teacher_precision(training)
        models = [(teacher.model, teacher.preprocess) for teacher in teachers]

        def choose() -> MemoryFormat:
            return choose_memory_format(models, context.device, precision, train=False)

        structures = [teacher.structure and teacher.structure.model_dump(mode="json") for teacher in teachers]
        sizes = [teacher.preprocess.image_size for teacher in teachers]
        passes = training.view_count if training.teacher_logits == "stored" else training.epoch_count
        key = {"forward": structures, "sizes": sizes, "precision": precision}
        return _chosen(context, key, images * passes if teachers else 0, choose)

    def resolve(name: str, choose: Callable[[], MemoryFormat]) -> MemoryFormat:
        given = cast(MemoryFormat | str, getattr(training, name))
        if given != "auto":
            return cast(MemoryFormat, given)
        return cast(MemoryFormat, decide_once(context.workdir, name, choose))

    return {
        "memory_format": resolve("memory_format", student_format),
        "teacher_memory_format": resolve("teacher_memory_format", teacher_format),
    }


def _chosen(context: RunContext, key: dict[str, Any], images: int, choose: Callable[[], MemoryFormat]) -> MemoryFormat:
    """The choice of an equal earlier run on this machine; else, for a long run, a new one."""
    if images * _LARGEST_SHARE < TIMED_IMAGES:
        return "channels_last"
    return cast(MemoryFormat, measure_once(context.data_cache, context.device, "memory-format", key, choose))
