"""The splits of a dataset, with or without labels, as every reader returns them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from ttm_core.data.formats.layout import NO_LABEL
from ttm_core.data.images import Images
from ttm_core.data.random import hash_key
from ttm_core.errors import BadDataset, listed
from ttm_core.spec.events import Reference
from ttm_core.spec.names import check_class_names


@dataclass(frozen=True)
class Split:
    """A split of n images: `indices` into the dataset's `images`, and their labels."""

    images: Images
    labels: torch.Tensor  # int64 [N], of all `images`; NO_LABEL for images without a label
    indices: NDArray[np.int64]
    against: Reference = "labels"  # the origin of `labels`

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def labelled(self) -> bool:
        """Whether any image has a label."""
        return bool((self.labels != NO_LABEL).any())

    @cached_property
    def with_label(self) -> "Split":
        """The images that have a label."""
        return replace(self, indices=self.indices[self._has_label])

    @cached_property
    def without_label(self) -> "Split":
        """The images that have no label."""
        return replace(self, indices=self.indices[~self._has_label])

    def spread(self, count: int) -> "Split":
        """Up to `count` images at even distances, since image folders are sorted by class."""
        if len(self) <= count:
            return self
        return replace(self, indices=self.indices[np.linspace(0, len(self) - 1, count).round().astype(np.int64)])

    @property
    def _has_label(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (self.labels != NO_LABEL).numpy()[self.indices]
        return found


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be decoded."""

    name: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """The splits, classes and unreadable images of a dataset."""

    train: Split
    validation: Split | None
    test: Split | None
    unlabelled: Split | None  # further training images, without labels
    class_names: list[str]  # empty if no split has labels; the teacher then defines the classes
    image_size: int | None  # side in pixels if all images are squares of one size, else None
    unreadable: list[Unreadable]
    checked: int = 0
    """Encoded images that were decoded to find unreadable ones: 0 if an earlier run has checked this content."""
    warnings: Sequence[str] = ()
    """Sentences about what the dataset leaves out, lacks or has twice."""

    @property
    def channels(self) -> int:
        return self.train.images.channels

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def full_split(images: Images, labels: torch.Tensor) -> Split:
    """A split of all images."""
    return Split(images, labels, np.arange(len(images)))


def with_classes(dataset: Dataset, class_names: list[str]) -> Dataset:
    """Returns the dataset with the teacher's class names. Raises BadDataset if there are fewer than two."""
    if len(class_names) < 2:
        raise BadDataset(f"A classifier needs at least two classes; the teacher has {len(class_names)}.")
    return replace(dataset, class_names=class_names)


def hold_out(train: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Splits off a validation set with the same share of every class, and at least one image of each class that has
    two.

    Images without labels count as one class.
    """
    labels = train.labels.numpy()[train.indices]
    keys = hash_key(seed, train.indices)
    held = np.zeros(len(train), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        held[members[np.argsort(keys[members], kind="stable")[:count]]] = True
    if not held.any():
        raise BadDataset("No class has two images, so no image can be held out for validation.")
    return (
        Split(train.images, train.labels, train.indices[~held]),
        Split(train.images, train.labels, train.indices[held]),
    )


def empty_classes(dataset: Dataset) -> list[str]:
    """A sentence about the classes without training images, if there are any and others have labels."""
    if not dataset.train.labelled:
        return []
    labels = dataset.train.labels[torch.from_numpy(dataset.train.with_label.indices)]
    counts = torch.bincount(labels, minlength=dataset.num_classes)
    empty = [name for name, count in zip(dataset.class_names, counts.tolist(), strict=True) if not count]
    if not empty:
        return []
    return [f"{len(empty):,} of {dataset.num_classes:,} classes have no training images: {listed(empty)}"]


def check(dataset: Dataset) -> None:
    """Raises BadDataset if the dataset has an empty split, labels out of range, or too few images or classes."""
    if dataset.class_names:
        if dataset.num_classes == 1:
            raise BadDataset(
                f"A classifier needs at least two classes; the dataset has one, {dataset.class_names[0]!r}. In image "
                "folders, classes are folders: `train/<class>/image` or `<class>/image`. Tables of labels are not read."
            )
        check_class_names(dataset.class_names)
    for name, split in (
        ("training", dataset.train),
        ("validation", dataset.validation),
        ("test", dataset.test),
        ("unlabelled", dataset.unlabelled),
    ):
        if split is None:
            continue
        if len(split) == 0:
            hint = " Remove it, or add images." if split is dataset.unlabelled else ""
            raise BadDataset(f"The {name} split has no images.{hint}")
        if not split.labelled:
            continue
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= dataset.num_classes:
            raise BadDataset(
                f"The {name} split has label {low if low < 0 else high}, outside 0..{dataset.num_classes - 1}."
            )
    if len(dataset.train) < 2:
        raise BadDataset("The training split has one image; at least two are required.")
