"""The default batch size, by the length of the run."""

from ttm_core.data.batches import images_per_epoch, steps_per_epoch
from ttm_core.data.dataset import Split
from ttm_core.spec.training.training import TrainingSpec

FEW_STEPS = 3_000
"""Runs with fewer steps are more accurate with smaller batches (docs/results.md); longer ones were not compared."""

_SMALL, _LARGE = 32, 64


def with_batch_size(training: TrainingSpec, split: Split) -> TrainingSpec:
    """The training with its batch size resolved. Each part of a batch has at least two images, for its batch norms."""
    if training.batch_size is not None:
        return training
    size = _SMALL if steps_of_large_batches(training, split) < FEW_STEPS else _LARGE
    parts = training.gradient_accumulation * training.devices
    return training.model_copy(update={"batch_size": max(size, 2 * parts)})


def steps_of_large_batches(training: TrainingSpec, split: Split) -> int:
    """The steps of the whole run with batches of 64 images."""
    return training.epochs * steps_per_epoch(images_per_epoch(split, training.unlabelled_ratio), _LARGE)
