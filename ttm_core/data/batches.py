"""The training batches of an epoch from any step on, and batches of full images.

Training batches depend on the seed only, so runs can resume anywhere.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ttm_core.data.dataset import Split
from ttm_core.data.images import ArrayImages
from ttm_core.data.random import permutation
from ttm_core.data.views import PreparedViews, Views
from ttm_core.spec.dataset import NoAugmentation
from ttm_core.training.distributed import ONE_PROCESS, Distributed
from ttm_core.transfer import stage

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


@dataclass(frozen=True)
class PreparedBatch:
    """The CPU's part of a batch."""

    indices: NDArray[np.int64]  # [B] indices of the images in the dataset
    view: int
    content: PreparedViews
    share: float  # of the step's images


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


def prepared_batches(
    views: Views,
    *,
    seed: int,
    epoch: int,
    view: int,
    batch_size: int,
    first: int,
    unlabelled_ratio: float | None = None,
    distributed: Distributed = ONE_PROCESS,
) -> Iterator[PreparedBatch]:
    """Prepares this process's share of each batch of an epoch, starting at step `first`, in view number `view`."""
    order = epoch_order(views.split, seed=seed, epoch=epoch, unlabelled_ratio=unlabelled_ratio)
    for step in range(first, steps_per_epoch(len(order), batch_size, distributed.size)):
        indices = order[step * batch_size : (step + 1) * batch_size]
        own = indices[distributed.shard(len(indices))]
        share = len(own) / len(indices)
        yield PreparedBatch(own, view, views.prepare(own, view), share)


def full_images(
    split: Split, parts: Iterable[NDArray[np.int64]], *, size: int, device: torch.device
) -> Iterator[Batch]:
    """Yields the full images of each part, which are indices into the dataset, resized to `size` pixels.

    They are made on the device, and one batch ahead, as `prefetched` describes.
    """
    views = Views(split, num_classes=0, augmentation=NoAugmentation(), size=size, seed=0, device=device)
    return prefetched(views, (PreparedBatch(part, 0, views.prepare(part, 0), share=1.0) for part in parts), depth=1)


def finished(views: Views, batches: Iterable[PreparedBatch]) -> Iterator[Batch]:
    """Yields the batches with their views, made on the device of the views."""
    return (_staged(views, batch)() for batch in batches)


def prefetched(views: Views, batches: Iterable[PreparedBatch], depth: int = 3) -> Iterator[Batch]:
    """Yields the batches of `finished`, prepared ahead in a thread.

    For a GPU, the thread draws, decodes and writes to pinned memory. The caller's thread issues the copy and the GPU's
    part, so that the stream of the training steps orders them and no thread waits for the GPU. For a CPU, the thread
    makes whole batches; for images in memory there is no thread, because it would be slower.
    """
    if views.device.type != "cuda" and isinstance(views.images, ArrayImages):
        yield from finished(views, batches)
        return
    ready: queue.Queue[Callable[[], Batch] | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Callable[[], Batch] | BaseException | None) -> bool:
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
                if not put(_staged(views, batch)):
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
            yield item()
    finally:
        stopped.set()
        thread.join()


def _staged(views: Views, prepared: PreparedBatch) -> Callable[[], Batch]:
    """Returns a function that finishes a batch: on a GPU when it is called, on a CPU now."""
    staged = stage(prepared.content, views.device)

    def finish() -> Batch:
        content = staged()
        return Batch(prepared.indices, prepared.view, views.finish(content), content.targets, prepared.share)

    if views.device.type == "cuda":
        return finish
    batch = finish()
    return lambda: batch
