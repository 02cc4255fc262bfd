"""The default length of a run in epochs, and the default batch size, which depends on it."""

from ttm_core.data.batches import images_per_epoch, steps_per_epoch
from ttm_core.data.dataset import Split
from ttm_core.spec.training.training import TrainingSpec, default_epochs

FEW_STEPS = 3_000
"""Runs with fewer steps are more accurate with smaller batches, and ttm with a smaller weight (docs/results.md)."""

_SMALL, _LARGE = 32, 64


def with_length(training: TrainingSpec, split: Split) -> TrainingSpec:
    """The training with its epochs and its batch size resolved. Each part of a batch has at least two images, for its
    batch norms.
    """
    if training.epochs is None:
        epochs = default_epochs(images_per_epoch(split, training.unlabelled_ratio))
        training = training.model_copy(update={"epochs": epochs})
    if training.batch_size is not None:
        return training
    size = _SMALL if steps_of_large_batches(training, split) < FEW_STEPS else _LARGE
    parts = training.gradient_accumulation * training.devices
    return training.model_copy(update={"batch_size": max(size, 2 * parts)})


def steps_of_large_batches(training: TrainingSpec, split: Split) -> int:
    """The steps of the whole run with batches of 64 images."""
    return training.epoch_count * steps_per_epoch(images_per_epoch(split, training.unlabelled_ratio), _LARGE)
