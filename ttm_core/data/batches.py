"""The training batches of an epoch, from any step on: the same whoever reads them, and whenever."""

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

_ORDER = 101  # the stream of the shuffle, apart from those of the views


@dataclass(frozen=True)
class Batch:
    """Views of B images: of all in a step, or of one device's part of them."""

    indices: NDArray[np.int64]  # [B], numbers of the images in the dataset
    view: int
    pixels: torch.Tensor  # uint8 [B, C, S, S]
    labels: torch.Tensor  # int64 [B] classes, or float32 [B, K] shares of them where views are mixtures
    share: float = 1.0  # of the images of the step


def steps_per_epoch(images: int, batch_size: int, devices: int = 1) -> int:
    """Steps of an epoch. The last batch may be short, but not of one image a device: batch norm cannot train on it."""
    return images // batch_size + (images % batch_size >= 2 * devices)


def epoch_batches(
    views: Views,
    *,
    seed: int,
    epoch: int,
    view: int,
    batch_size: int,
    first: int,
    distributed: Distributed | None = None,
) -> Iterator[Batch]:
    """The batches of an epoch from step `first` of it on, in view number `view`; of each, this process's part."""
    distributed = distributed or Distributed()
    split = views.split
    order = split.indices[permutation(len(split), _ORDER, seed, epoch)]
    for step in range(first, steps_per_epoch(len(split), batch_size, distributed.size)):
        indices = order[step * batch_size : (step + 1) * batch_size]
        own = indices[distributed.shard(len(indices))]
        share = len(own) / len(indices)
        yield Batch(own, view, views.batch(own, view), views.targets(own, view), share)


def prefetched(split: Split, batches: Iterator[Batch], device: torch.device, depth: int = 3) -> Iterator[Batch]:
    """Make batches ahead in a thread where they are decoded from files, or a GPU would wait for them, in memory that it
    reads without a copy; from memory for the CPU they are quicker made in turn."""
    if isinstance(split.images, ArrayImages) and device.type != "cuda":
        yield from batches
        return
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    left = threading.Event()

    def put(item: Batch | BaseException | None) -> bool:
        while not left.is_set():
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
        left.set()
        thread.join()


def _pinned(batch: Batch) -> Batch:
    return replace(batch, pixels=batch.pixels.pin_memory(), labels=batch.labels.pin_memory())
