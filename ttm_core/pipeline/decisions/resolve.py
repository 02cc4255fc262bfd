"""Resolves a submitted spec: fills in every open field from the data and the teachers, once per run."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ttm_core.data.batches import images_per_epoch, steps_per_epoch
from ttm_core.data.build import held_in_memory
from ttm_core.data.dataset import Dataset, with_classes
from ttm_core.data.views import Views
from ttm_core.hardware.adapt import adapt_to_device
from ttm_core.hardware.compilation import CompileMode, compiled_teacher
from ttm_core.hardware.memory_format import in_memory_format
from ttm_core.methods.build import method_temperature
from ttm_core.models.image_sizes import check_image_size
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.ensemble import as_one_teacher
from ttm_core.models.teachers.load import Teacher
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.compilation import resolve_compile_mode
from ttm_core.pipeline.decisions.default_weight import default_weight_warning, with_default_weight
from ttm_core.pipeline.decisions.learning_rate import with_learning_rate
from ttm_core.pipeline.decisions.length import with_length
from ttm_core.pipeline.decisions.memory_format import MemoryFormats, resolve_memory_formats
from ttm_core.pipeline.decisions.precision import resolve_precision
from ttm_core.pipeline.decisions.reasons import reasons
from ttm_core.pipeline.decisions.stored_views import stored_views
from ttm_core.pipeline.loading.dataset import load_dataset
from ttm_core.pipeline.loading.teachers import load_teachers
from ttm_core.pipeline.student.base import StudentBase, resolved_architecture, student_base
from ttm_core.pipeline.student.input import SMALL_IMAGE, image_size, input_channels, normalization
from ttm_core.precision import resolved_teacher_precision
from ttm_core.spec.dataset import AugmentationSpec, CropFlip, ResizedCrop
from ttm_core.spec.job import DistillSpec, TeacherSpec
from ttm_core.spec.method.methods import MethodSpec
from ttm_core.spec.structure import ModelStructure
from ttm_core.spec.training.training import TrainingSpec
from ttm_core.training.evaluate import label_with_teacher


@dataclass(frozen=True)
class ResolvedRun:
    """A run with every field of its spec resolved, its data read and its teachers loaded."""

    spec: DistillSpec
    dataset: Dataset  # with class names, and a validation split that has labels
    preprocess: Preprocess  # of the student
    student: StudentBase
    augmentation: AugmentationSpec
    teachers: Sequence[Teacher]
    teacher_files: Sequence[Path]
    teacher: Teacher | None  # all teachers as one model, for evaluation
    reasons: Mapping[str, str]  # why open fields of the spec have their values, by path
    compile_mode: CompileMode | None = None  # of the student's steps

    @property
    def hash(self) -> str:
        """SHA-256 of everything that determines the trained weights. A run resumes only from checkpoints with it."""
        without_effect: Any = {
            "name": True,
            "recipe": True,
            "exports": True,
            "training": {"checkpoint_seconds"},
            "teacher": {"allow_chance"},
            "teachers": {"__all__": {"allow_chance"}},
        }
        content = self.spec.model_dump(mode="json", exclude=without_effect)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def views(self, device: torch.device) -> Views:
        """The views of the training images, made on a device."""
        dataset, seed = self.dataset, self.spec.training.view_seed
        size = self.preprocess.image_size
        return Views(dataset.train, dataset.num_classes, self.augmentation, size, seed, device)


def resolve_run(spec: DistillSpec, context: RunContext) -> ResolvedRun:
    """Reads the data, loads the teachers and resolves the spec.

    Raises:
        EngineError: the data, a teacher or the combination of both with the spec cannot be used.
    """
    context.phase("fetching")
    dataset = load_dataset(spec, context)
    submitted = spec
    spec = spec.model_copy(update={"training": with_length(spec.training, dataset.train)})
    base = student_base(spec, context.inputs, context.data_cache)
    size = image_size(spec, dataset, base)
    augmentation = _augmentation(spec, size)
    with context.activity("decoding images"):
        dataset = held_in_memory(dataset, size, whole_train_images=not isinstance(augmentation, ResizedCrop))

    context.phase("loading_teacher")
    with context.activity("loading the teacher"):
        teachers, files = load_teachers(spec, context, dataset.class_names, size)
    if not dataset.class_names:
        dataset = with_classes(dataset, teachers[0].class_names)
    first = teachers[0] if teachers else None
    channels = input_channels(spec, dataset, base, first)
    normalized = normalization(spec, dataset, first, base, channels)
    logits = context.distributed.main_first(
        lambda: stored_views(
            spec, context.workdir, context.stores, images=len(dataset.train), num_classes=dataset.num_classes
        )
    )
    precision = context.distributed.main_first(lambda: resolve_precision(spec, context))
    training: dict[str, object] = {"threads": context.threads, "augmentation": augmentation, **precision, **logits}
    preprocess = Preprocess(channels, size, normalized)
    student = _whole_structure(base, dataset, preprocess)
    check_image_size(student, size, "student.image_size")
    teacher_precision = resolved_teacher_precision(spec.training.model_copy(update=precision))
    for each in teachers:
        adapt_to_device(each.model, each.preprocess, context.device, teacher_precision, train=False)
    formats = _memory_formats(
        spec.training.model_copy(update=training), context, student, preprocess, teachers, len(dataset.train)
    )
    training |= {**formats, "optimizer": with_learning_rate(spec.training.optimizer, student)}
    preprocess = replace(preprocess, memory_format=formats["memory_format"])
    compile_mode = _compile_mode(spec.training.model_copy(update=training), context, student, preprocess, dataset)
    if warning := default_weight_warning(spec.method, spec.training, dataset.train, context.distributed.size):
        context.warn(warning)
    resolved = _complete(
        spec,
        teachers,
        method=with_default_weight(spec.method, spec.training, dataset.train, context.distributed.size),
        student={"architecture": resolved_architecture(spec, base), "image_size": size, "normalization": normalized},
        training={**training, "compile": compile_mode is not None},
    )
    why = reasons(submitted, resolved, context, dataset=dataset, base=base, teacher=first)
    teachers = [in_memory_format(each, formats["teacher_memory_format"]) for each in teachers]
    # Stored logits are computed without compilation: runs share them whether they compile their students or not.
    if compile_mode and resolved.training.teacher_logits != "stored":
        teachers = [compiled_teacher(each) for each in teachers]
    teacher = None
    if teachers:
        temperature = method_temperature(resolved.method, 0.0, resolved.training.epoch_count)
        teacher = as_one_teacher(teachers, [each.weight for each in resolved.all_teachers], temperature)
    with context.activity("labelling images with the teacher"):
        dataset = label_with_teacher(
            dataset, teacher, device=context.device, precision=teacher_precision, stores=context.stores
        )
    return ResolvedRun(
        spec=resolved,
        dataset=dataset,
        preprocess=preprocess,
        student=base,
        augmentation=augmentation,
        teachers=teachers,
        teacher_files=files,
        teacher=teacher,
        reasons=why,
        compile_mode=compile_mode,
    )


def _whole_structure(base: StudentBase, dataset: Dataset, preprocess: Preprocess) -> ModelStructure:
    """The structure of the student, or of the teacher that it is cut out of."""
    return ModelStructure(
        architecture=base.architecture,
        num_classes=dataset.num_classes,
        in_chans=preprocess.channels,
        image_size=preprocess.image_size,
        pruning=base.pruning,
    )


def _memory_formats(
    training: TrainingSpec,
    context: RunContext,
    student: ModelStructure,
    preprocess: Preprocess,
    teachers: Sequence[Teacher],
    images: int,
) -> MemoryFormats:
    with context.activity("choosing the memory format"):
        return context.distributed.main_first(
            lambda: resolve_memory_formats(
                training,
                context,
                student=student,
                preprocess=preprocess,
                teachers=teachers,
                images=images,
            )
        )


def _compile_mode(
    training: TrainingSpec, context: RunContext, student: ModelStructure, preprocess: Preprocess, dataset: Dataset
) -> CompileMode | None:
    images = images_per_epoch(dataset.train, training.unlabelled_ratio)
    steps = steps_per_epoch(images, training.images_per_step, training.devices) * training.epoch_count
    with context.activity("measuring compilation"):
        return context.distributed.main_first(
            lambda: resolve_compile_mode(training, context, student=student, preprocess=preprocess, steps=steps)
        )


def _augmentation(spec: DistillSpec, size: int) -> AugmentationSpec:
    """The spec's, else crop_flip padded by an eighth for small images and resized_crop for larger ones."""
    if spec.training.augmentation is not None:
        return spec.training.augmentation
    return CropFlip(padding=size // 8) if size <= SMALL_IMAGE else ResizedCrop()


def _complete(
    spec: DistillSpec,
    teachers: Sequence[Teacher],
    *,
    method: MethodSpec,
    student: dict[str, object],
    training: dict[str, object],
) -> DistillSpec:
    """The spec with the given method and fields of the student and of training, and with what the teachers' files
    specify.
    """
    resolved = [_with_teacher(each, teacher) for each, teacher in zip(spec.all_teachers, teachers, strict=True)]
    update: dict[str, object] = {
        "method": method,
        "student": spec.student.model_copy(update=student),
        "training": spec.training.model_copy(update=training),
    }
    if spec.teachers is not None:
        update["teachers"] = resolved
    else:
        update["teacher"] = resolved[0] if resolved else None
    return spec.model_copy(update=update)


def _with_teacher(spec: TeacherSpec, teacher: Teacher) -> TeacherSpec:
    return spec.model_copy(
        update={
            # An ONNX file has no architecture.
            "architecture": teacher.structure.architecture if teacher.structure is not None else None,
            "num_classes": teacher.num_classes,
            "normalization": teacher.preprocess.normalization,
            "image_size": teacher.preprocess.image_size,
            "class_map": teacher.class_map,
            "checkpoint_key": spec.checkpoint_key or teacher.checkpoint_key,
        }
    )
