"""What every reader returns: splits of labelled images and what is known about them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ttm_core.data.images import Images
from ttm_core.data.random import hash_key
from ttm_core.errors import BadDataset


@dataclass(frozen=True)
class Split:
    """Some of a dataset's images: `indices` [n] into `images`, and their labels."""

    images: Images
    labels: torch.Tensor  # int64 [N], of all of `images`
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be decoded."""

    name: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """Images with labels, before training and validation are told apart."""

    train: Split
    validation: Split | None
    test: Split | None
    class_names: list[str]
    image_size: int | None  # side in pixels when all images are of one square size, else None
    unreadable: list[Unreadable]

    @property
    def channels(self) -> int:
        return self.train.images.channels

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def whole(images: Images, labels: torch.Tensor) -> Split:
    return Split(images, labels, np.arange(len(images)))


def hold_out(train: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Split off a validation part: the same share of every class, at least one image of each that has two."""
    labels = train.labels.numpy()[train.indices]
    keys = hash_key(seed, train.indices)
    held = np.zeros(len(train), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        held[members[np.argsort(keys[members], kind="stable")[:count]]] = True
    if not held.any():
        raise BadDataset("no class has two images, so none can be held out for validation")
    return (
        Split(train.images, train.labels, train.indices[~held]),
        Split(train.images, train.labels, train.indices[held]),
    )


def check(dataset: Dataset) -> None:
    """What training cannot start without. Raises BadDataset."""
    if dataset.num_classes < 2:
        raise BadDataset(f"a classifier needs at least two classes, the dataset has {dataset.num_classes}")
    for name, split in (("training", dataset.train), ("validation", dataset.validation), ("test", dataset.test)):
        if split is None:
            continue
        if len(split) == 0:
            raise BadDataset(f"the {name} split has no images")
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= dataset.num_classes:
            raise BadDataset(
                f"the {name} split has label {low if low < 0 else high}, outside 0..{dataset.num_classes - 1}"
            )
    if len(dataset.train) < 2:
        raise BadDataset("training needs at least two images")
