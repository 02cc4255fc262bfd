"""Why the engine resolved the open fields of a spec as it did."""

from collections.abc import Iterator

from ttm_core.data.dataset import Dataset
from ttm_core.data.images import ArrayImages
from ttm_core.models.teachers.load import Teacher
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.default_weight import WARM_UP_STEPS
from ttm_core.pipeline.decisions.learning_rate import LOW_LEARNING_RATE
from ttm_core.pipeline.decisions.length import FEW_STEPS, steps_of_large_batches
from ttm_core.pipeline.student.base import StudentBase
from ttm_core.pipeline.student.input import SMALL_IMAGE
from ttm_core.spec.dataset import ResizedCrop
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.method.methods import WarmedUpDistillation
from ttm_core.spec.method.schedules import WarmUp
from ttm_core.spec.training.training import DEFAULT_IMAGES, FEWEST_EPOCHS, MOST_EPOCHS

Reason = tuple[str, str]
"""The path of a field, such as `training.precision`, and a sentence."""


def reasons(
    spec: DistillSpec,
    resolved: DistillSpec,
    context: RunContext,
    *,
    dataset: Dataset,
    base: StudentBase,
    teacher: Teacher | None,
) -> dict[str, str]:
    """The reasons for the values of all fields that `spec` leaves open, by path. `teacher` is the first one."""
    return dict(
        [
            *_student(spec, resolved, dataset, base, teacher),
            *_teachers(spec, resolved),
            *_method(spec, resolved),
            *_training(spec, resolved, context, dataset),
        ]
    )


def _student(
    spec: DistillSpec, resolved: DistillSpec, dataset: Dataset, base: StudentBase, teacher: Teacher | None
) -> Iterator[Reason]:
    student = spec.student
    if student.architecture is None and resolved.student.architecture is not None:
        yield "student.architecture", "The initial weights are of this architecture."
    if student.image_size is None:
        if base.image_size is not None:
            reason = "The initial weights fit this size only."
        elif resolved.student.image_size == dataset.image_size:
            reason = f"The size of the images, which is at most {SMALL_IMAGE} px."
        else:
            reason = f"The size that {base.architecture} is published for."
        yield "student.image_size", reason
    if student.normalization is None:
        chosen = resolved.student.normalization
        if chosen == base.normalization:
            reason = "That of the initial weights."
        elif teacher is not None and chosen == teacher.preprocess.normalization:
            reason = "That of the teacher."
        elif isinstance(dataset.train.images, ArrayImages):
            reason = "Measured on the training images."
        else:
            reason = f"That of {base.architecture}."
        yield "student.normalization", reason


def _teachers(spec: DistillSpec, resolved: DistillSpec) -> Iterator[Reason]:
    for index, (given, found) in enumerate(zip(spec.all_teachers, resolved.all_teachers, strict=True)):
        at = "teacher" if spec.teacher is not None else f"teachers.{index}"
        if given.architecture is None and found.architecture is not None:
            yield f"{at}.architecture", "Read from the checkpoint."
        if given.checkpoint_key is None and found.checkpoint_key is not None:
            yield (
                f"{at}.checkpoint_key",
                "Of the models in the checkpoint, it fits the architecture best; of several, averaged weights are "
                "preferred, then a teacher.",
            )
        if given.num_classes is None:
            yield f"{at}.num_classes", "The size of the checkpoint's classifier."
        if given.normalization is None:
            yield f"{at}.normalization", "Read from the checkpoint, or else that of its architecture."
        if given.image_size is None:
            yield (
                f"{at}.image_size",
                "Read from the checkpoint or its published description, or else the only size of its architecture, or "
                "else that of the student.",
            )
        if given.class_map is None and found.class_map is not None:
            yield f"{at}.class_map", "Matched by the names of the classes."


def _method(spec: DistillSpec, resolved: DistillSpec) -> Iterator[Reason]:
    method = resolved.method
    if not isinstance(spec.method, WarmedUpDistillation) or spec.method.weight is not None:
        return
    assert isinstance(method, WarmedUpDistillation)
    if not isinstance(method.weight, WarmUp):
        yield "method.weight", "The published weight, since there is no cross-entropy to balance."
        return
    end = min(resolved.training.epoch_count / method.weight.epochs, 1.0)
    yield (
        "method.weight",
        f"Rises to the published {method.published_weight:g} over {WARM_UP_STEPS:,} steps and ends at "
        f"{end * method.published_weight:.3g} here: the published weight is for long runs and costs accuracy in short "
        "ones.",
    )


def _training(spec: DistillSpec, resolved: DistillSpec, context: RunContext, dataset: Dataset) -> Iterator[Reason]:
    training, chosen = spec.training, resolved.training
    if training.epochs is None:
        yield (
            "training.epochs",
            f"As many as read about {DEFAULT_IMAGES:,} images, but at least {FEWEST_EPOCHS} and at most {MOST_EPOCHS}.",
        )
    if training.batch_size is None:
        steps = steps_of_large_batches(chosen, dataset.train)
        than = "less than" if steps < FEW_STEPS else "at least"
        yield "training.batch_size", f"Batches of 64 make {steps:,} steps, which are {than} {FEW_STEPS:,}."
    if training.optimizer.learning_rate is None:
        low = chosen.optimizer.learning_rate == LOW_LEARNING_RATE
        has = "depthwise convolutions or no batch norms" if low else "batch norms and no depthwise convolutions"
        yield "training.optimizer.learning_rate", f"The student has {has}."
    if training.augmentation is None:
        side = "more than" if isinstance(chosen.augmentation, ResizedCrop) else "at most"
        yield "training.augmentation", f"The student's images have {side} {SMALL_IMAGE} px."
    if training.precision == "auto":
        has = "units" if chosen.precision == "bfloat16" else "no units"
        yield "training.precision", f"The device has {has} for bfloat16."
    if training.teacher_precision is None:
        yield "training.teacher_precision", "That of the student."
    for name, model in (("memory_format", "student"), ("teacher_memory_format", "teacher")):
        if getattr(training, name) == "auto":
            yield (
                f"training.{name}",
                f"The faster one for the {model} on this machine; channels_last in runs too short for a measurement.",
            )
    if training.compile == "auto":
        on_cpu = context.device.type == "cpu"
        measured = "A measurement on this GPU decides; runs of less than a minute are not compiled."
        reason = "Compilation does not pay on CPUs." if on_cpu else measured
        yield "training.compile", reason
    if training.teacher_logits is None:
        yield "training.teacher_logits", _stored(spec, resolved, context)
    if training.views == "fit":
        yield "training.views", "As many as fit into the teacher store, at most one per epoch."
    if training.threads is None:
        yield "training.threads", "The CPU threads that the trainer may use."


def _stored(spec: DistillSpec, resolved: DistillSpec, context: RunContext) -> str:
    if resolved.training.teacher_logits == "stored":
        return "The worker has a teacher store with room for the logits of all views."
    if not spec.method.requirements.stored_logits_suffice:
        return "The method uses no teacher, or more than its logits."
    if context.stores is None:
        return "There is no teacher store that other runs could read."
    return "The teacher store has no room for the logits of all views."
