"""The default weight of methods that are published for long runs."""

from ttm_core.data.batches import images_per_epoch, steps_per_epoch
from ttm_core.data.dataset import Split
from ttm_core.pipeline.decisions.length import FEW_STEPS
from ttm_core.spec.job import TrainingSpec
from ttm_core.spec.method.methods import MethodSpec, TransformedTeacherMatching, WarmedUpDistillation
from ttm_core.spec.method.schedules import WarmUp

WARM_UP_STEPS = 15_640
"""Of DKD's published code: 20 epochs of 782 batches of 64 CIFAR-100 images."""


def with_default_weight(method: MethodSpec, training: TrainingSpec, split: Split, devices: int) -> MethodSpec:
    """The method with its default weight resolved: a warm-up over `WARM_UP_STEPS` steps.

    Without the cross-entropy, the weight only scales the gradient, so it is the published one from the start.
    """
    if not isinstance(method, WarmedUpDistillation) or method.weight is not None:
        return method
    weight: float | WarmUp = method.published_weight
    if method.ce_weight > 0:
        steps = _steps_per_epoch(training, split, devices)
        weight = WarmUp(epochs=WARM_UP_STEPS / max(steps, 1), last=method.published_weight)
    return method.model_copy(update={"weight": weight})


def default_weight_warning(method: MethodSpec, training: TrainingSpec, split: Split, devices: int) -> str | None:
    """What to set in a short run with TTM's published weight; None for other runs."""
    if not isinstance(method, TransformedTeacherMatching) or "beta" in method.model_fields_set or method.ce_weight == 0:
        return None
    steps = _steps_per_epoch(training, split, devices) * training.epoch_count
    if steps >= FEW_STEPS:
        return None
    return (
        f"method.beta is {method.beta:g}, the published value for long runs, and this run has {steps} steps. In runs "
        "of 710 steps, 0.8 was 5 points more accurate (docs/results.md): set method.beta to about 1."
    )


def _steps_per_epoch(training: TrainingSpec, split: Split, devices: int) -> int:
    return steps_per_epoch(images_per_epoch(split, training.unlabelled_ratio), training.images_per_step, devices)
