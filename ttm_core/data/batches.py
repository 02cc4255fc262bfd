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

_ORDER = 101  # random stream of the shuffle, independent of those of the views


@dataclass(frozen=True)
class Batch:
    """Views of B images: all images of a step, or one device's share of them."""

    indices: NDArray[np.int64]  # [B] indices of the images in the dataset
    view: int
    pixels: torch.Tensor  # uint8 [B, C, S, S]
    labels: torch.Tensor  # int64 [B] classes, or float32 [B, K] class distributions for mixed views
    share: float = 1.0  # of the step's images


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
    distributed: Distributed | None = None,
) -> Iterator[Batch]:
    """Yields this process's share of each batch of an epoch, starting at step `first`, in view number `view`."""
    distributed = distributed or Distributed()
    split = views.split
    order = split.indices[permutation(len(split), _ORDER, seed, epoch)]
    for step in range(first, steps_per_epoch(len(split), batch_size, distributed.size)):
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
