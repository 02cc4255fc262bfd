"""The training batches of an epoch from any step on. They depend on the seed only, so runs can resume anywhere."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ttm_core.data.dataset import Split
from ttm_core.data.images import ArrayImages
from ttm_core.data.random import permutation
from ttm_core.data.views import Views
from ttm_core.training.distributed import Distributed

# Random streams of the shuffles, independent of those of the views.
_ORDER, _UNLABELLED_ORDER = 101, 102


@dataclass(frozen=True)
class Batch:
    """Views of B images: all images of a step, or one device's share of them."""

    indices: NDArray[np.int64]  # [B] indices of the images in the dataset
    view: int
    pixels: torch.Tensor  # uint8 [B, C, S, S]
    labels: torch.Tensor  # int64 [B] classes, or float32 [B, K] class distributions for mixed views
    share: float = 1.0  # of the step's images


def images_per_epoch(split: Split, unlabelled_ratio: float | None = None) -> int:
    """The number of images per epoch: all images with a label, and `unlabelled_ratio` times as many without. By
    default, and if no image has a label, all images.
    """
    labelled = len(split.with_label)
    if unlabelled_ratio is None or labelled in (0, len(split)):
        return len(split)
    return labelled + max(round(unlabelled_ratio * labelled), 1)


def labelled_share(split: Split, unlabelled_ratio: float | None = None) -> float:
    """The share of images with a label among the images of an epoch."""
    return len(split.with_label) / images_per_epoch(split, unlabelled_ratio)


def epoch_order(split: Split, *, seed: int, epoch: int, unlabelled_ratio: float | None = None) -> NDArray[np.int64]:
    """The images of an epoch in training order: [images_per_epoch].

    Images with and without a label alternate evenly, so every batch and every part of it has both in the same ratio.
    Images without a label are shuffled anew after each has been used once, which may be in the middle of an epoch.
    """
    labelled, unlabelled = split.with_label.indices, split.without_label.indices
    if not len(labelled) or not len(unlabelled):
        return split.indices[permutation(len(split), _ORDER, seed, epoch)]
    count = images_per_epoch(split, unlabelled_ratio)
    ends = np.arange(1, count + 1) * len(labelled) // count
    has_label = np.diff(ends, prepend=0) > 0
    order = np.empty(count, np.int64)
    order[has_label] = labelled[permutation(len(labelled), _ORDER, seed, epoch)]
    added = count - len(labelled)
    order[~has_label] = unlabelled[_endless(len(unlabelled), epoch * added, added, seed)]
    return order


def _endless(count: int, first: int, length: int, seed: int) -> NDArray[np.int64]:
    """`length` numbers below `count`, from position `first` on in an endless sequence of permutations."""
    rounds = range(first // count, (first + length - 1) // count + 1)
    numbers = np.concatenate([permutation(count, _UNLABELLED_ORDER, seed, number) for number in rounds])
    start = first % count
    return numbers[start : start + length]


def steps_per_epoch(images: int, batch_size: int, devices: int = 1) -> int:
    """The number of steps per epoch. A last batch with fewer than two images per device is dropped, because batch norm
    cannot train on one image."""
    return images // batch_size + (images % batch_size >= 2 * devices)


def epoch_batches(
    views: Views,
    *,
    seed: int,
    epoch: int,
    view: int,
    batch_size: int,
    first: int,
    unlabelled_ratio: float | None = None,
    distributed: Distributed | None = None,
) -> Iterator[Batch]:
    """Yields this process's share of each batch of an epoch, starting at step `first`, in view number `view`."""
    distributed = distributed or Distributed()
    order = epoch_order(views.split, seed=seed, epoch=epoch, unlabelled_ratio=unlabelled_ratio)
    for step in range(first, steps_per_epoch(len(order), batch_size, distributed.size)):
        indices = order[step * batch_size : (step + 1) * batch_size]
        own = indices[distributed.shard(len(indices))]
        share = len(own) / len(indices)
        yield Batch(own, view, views.batch(own, view), views.targets(own, view), share)


def prefetched(split: Split, batches: Iterator[Batch], device: torch.device, depth: int = 3) -> Iterator[Batch]:
    """Yields the same batches, prepared ahead in a thread if images are decoded from files or training runs on a GPU
    (in
    pinned memory). For images in memory and a CPU, a thread would be slower."""
    if isinstance(split.images, ArrayImages) and device.type != "cuda":
        yield from batches
        return
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Batch | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for batch in batches:
                if not put(_pinned(batch) if device.type == "cuda" else batch):
                    return
        except BaseException as error:
            put(error)
        else:
            put(None)

    thread = threading.Thread(target=produce, name="batches", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def _pinned(batch: Batch) -> Batch:
    return replace(batch, pixels=batch.pixels.pin_memory(), labels=batch.labels.pin_memory())
