"""What every reader returns: splits of images, with or without labels, and what is known about them."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from ttm_core.data.images import Images
from ttm_core.data.random import hash_key
from ttm_core.errors import BadDataset
from ttm_core.spec.events import Reference

NO_LABEL = -1


@dataclass(frozen=True)
class Split:
    """Some of a dataset's images: `indices` [n] into `images`, and their labels."""

    images: Images
    labels: torch.Tensor  # int64 [N], of all of `images`; NO_LABEL for each where they have none
    indices: NDArray[np.int64]
    against: Reference = "labels"  # where `labels` come from

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def labelled(self) -> bool:
        return bool((self.labels != NO_LABEL).any())


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
    class_names: list[str]  # empty where no split has labels: the teacher names the classes then
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


def with_classes(dataset: Dataset, class_names: list[str]) -> Dataset:
    """The dataset with the classes of its teacher. Raises BadDataset where they are fewer than two."""
    _check_classes(len(class_names), "the teacher")
    return replace(dataset, class_names=class_names)


def hold_out(train: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Split off a validation part: the same share of every class, at least one image of each that has two. Images
    without labels are of one class here.
    """
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
    if dataset.class_names:
        _check_classes(dataset.num_classes, "the dataset")
    for name, split in (("training", dataset.train), ("validation", dataset.validation), ("test", dataset.test)):
        if split is None:
            continue
        if len(split) == 0:
            raise BadDataset(f"the {name} split has no images")
        if not split.labelled:
            continue
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= dataset.num_classes:
            raise BadDataset(
                f"the {name} split has label {low if low < 0 else high}, outside 0..{dataset.num_classes - 1}"
            )
    if len(dataset.train) < 2:
        raise BadDataset("training needs at least two images")


def _check_classes(count: int, owner: str) -> None:
    if count < 2:
        raise BadDataset(f"a classifier needs at least two classes, {owner} has {count}")
