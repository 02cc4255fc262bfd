"""Unlabelled images that a run trains on in addition to labelled ones."""

import filecmp
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ttm_core.data.build import detect, find_root, read_root
from ttm_core.data.dataset import Dataset, Split, Unreadable, full_split
from ttm_core.data.encoded.manifest import Reading
from ttm_core.data.formats import image_folder, layout
from ttm_core.data.formats.layout import NO_LABEL
from ttm_core.data.images import Concatenation, with_channels
from ttm_core.errors import BadDataset


@dataclass(frozen=True)
class UnlabelledSource:
    """The training images of one entry of `dataset.unlabelled`."""

    split: Split
    had_labels: bool
    """Whether the source has labels, which are ignored."""
    unreadable: Sequence[Unreadable]
    checked: int
    """As in `Dataset`."""


def read_unlabelled(uri: str, path: Path, reading: Reading) -> UnlabelledSource:
    """Reads the training images at `path`: a dataset of any format, or a folder or archive of images in any folders.

    Args:
        uri: for error messages.
        path: of the source.
        reading: how to read its images.

    Raises:
        BadDataset: the source is missing, unsafe, damaged or has no images.
    """
    if not path.exists():
        raise BadDataset(f"The unlabelled images {uri} do not exist.")
    try:
        root, reading = find_root(path, "auto", reading)
        found, had_labels = _read(root, reading)
    except BadDataset as error:
        raise BadDataset(f"The unlabelled images {uri}: {error}") from error
    if not len(found.train):
        raise BadDataset(
            f"The unlabelled source {uri} has no images. Remove it from dataset.unlabelled, or add images."
        )
    return UnlabelledSource(found.train, had_labels, found.unreadable, found.checked)


def check_no_overlap(uri: str, path: Path, dataset: Path) -> None:
    """Raises BadDataset if a source has files of the dataset: its test images would then be training images.

    Args:
        uri: of the source, for the message.
        path: of the source.
        dataset: path of the labelled images.
    """
    if path.is_file() or dataset.is_file():
        same = path.is_file() and dataset.is_file() and filecmp.cmp(path, dataset, shallow=False)
    else:
        source, root = path.resolve(), layout.root(dataset).resolve()
        same = root.is_relative_to(source) or (source.is_relative_to(root) and _is_read(source, root))
    if same:
        raise BadDataset(
            f"The unlabelled images {uri} have images of dataset.uri among them. List images that are in no split of "
            "the dataset; the dataset's own folder `unlabelled` is used without being listed."
        )


def _is_read(source: Path, root: Path) -> bool:
    """Whether a folder in a dataset is part of it: of a split or, without splits, of a class."""
    first = source.relative_to(root).parts[0].lower()
    names = {name for split in layout.SPLITS.values() for name in split}
    return first in names or (layout.split_folder(root, "train") is None and image_folder.has_classes(root))


def _read(root: Path, reading: Reading) -> tuple[Dataset, bool]:
    """The images of a source, and whether it has labels."""
    try:
        name = detect(root)
    except BadDataset:
        name = "image_folder"  # images in nested folders
    if name == "image_folder":
        # Folders that nothing names as training data may group the images in any way.
        had_labels = layout.split_folder(root, "train") is not None and image_folder.has_classes(root)
        return image_folder.read_nested(root, reading), had_labels
    found = read_root(name, root, reading)
    return found, found.train.labelled


def add_unlabelled(dataset: Dataset, sources: Sequence[UnlabelledSource]) -> Dataset:
    """The dataset with all its unlabelled images, and those of the sources, in its training split.

    The labelled images come first, so their indices do not change. Images of other colors become gray or RGB as the
    labelled ones.
    """
    train = dataset.train
    parts = [] if dataset.unlabelled is None else [dataset.unlabelled]
    parts += [source.split for source in sources]
    if not parts:
        return dataset
    images = Concatenation([train.images, *(with_channels(part.images, dataset.channels) for part in parts)])
    added = len(images) - len(train.images)
    everything = full_split(images, torch.cat([train.labels, torch.full((added,), NO_LABEL)]))
    merged = replace(everything, indices=np.concatenate([train.indices, everything.indices[len(train.images) :]]))
    unreadable = [*dataset.unreadable, *(bad for source in sources for bad in source.unreadable)]
    checked = dataset.checked + sum(source.checked for source in sources)
    return replace(dataset, train=merged, unlabelled=None, unreadable=unreadable, checked=checked)
