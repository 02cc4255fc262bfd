"""From a DatasetSpec and a local path to splits: the one place to register a dataset format."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import assert_never

import torch

from ttm_core.data import idx, image_folder
from ttm_core.data.archives import is_archive, unpack
from ttm_core.data.dataset import Dataset, Split, check, hold_out, whole
from ttm_core.data.images import Images, Selection, in_memory
from ttm_core.data.specs import DatasetSpec
from ttm_core.errors import BadDataset

# Decoded training sets up to this many bytes live in memory; larger ones are decoded again at every view.
MEMORY_BYTES = 2 * 2**30


def read_dataset(spec: DatasetSpec, path: Path, cache: Path, pool: ThreadPoolExecutor) -> Dataset:
    """Read the dataset at `path`: a folder, or an archive that is unpacked under `cache`. Raises BadDataset."""
    if not path.exists():
        raise BadDataset(f"nothing is there: {spec.uri}")
    folder = path
    if path.is_file():
        if not is_archive(path):
            raise BadDataset("the dataset is a file, but neither a tar nor a zip archive")
        folder = cache / "dataset"
        unpack(path, folder)
    dataset = _read(spec, folder, pool)
    check(dataset)
    if dataset.validation is None:
        train, validation = hold_out(dataset.train, spec.validation.share, spec.validation.seed)
        dataset = replace(dataset, train=train, validation=validation)
    return dataset


def _read(spec: DatasetSpec, folder: Path, pool: ThreadPoolExecutor) -> Dataset:
    match spec.format:
        case "auto":
            return _read(spec.model_copy(update={"format": detect(folder)}), folder, pool)
        case "image_folder":
            return image_folder.read(folder, max_unreadable=spec.max_unreadable, pool=pool)
        case "idx":
            return idx.read(folder)
        case _:
            assert_never(spec.format)


def detect(folder: Path) -> str:
    """The format of an unpacked dataset."""
    if idx.is_idx(folder):
        return "idx"
    if image_folder.is_image_folder(folder):
        return "image_folder"
    raise BadDataset("the dataset's format is not known: expected train/<class>/image, <class>/image, or IDX files")


def held_in_memory(dataset: Dataset, size: int, *, whole_train_images: bool) -> Dataset:
    """Decode to `size` square once, where that fits in memory and every view starts from the whole image.

    The training split keeps its images' numbers, since they are part of what names a view.
    """
    train = dataset.train
    if whole_train_images and _fits(train.images, len(train.images), size):
        train = replace(train, images=in_memory(train.images, size))

    def hold(split: Split | None) -> Split | None:
        if split is None:
            return None
        if split.images is dataset.train.images and train.images is not dataset.train.images:
            return replace(split, images=train.images)
        if not _fits(split.images, len(split), size):
            return split
        pixels = in_memory(Selection(split.images, split.indices), size)
        return whole(pixels, split.labels[torch.from_numpy(split.indices)])

    return replace(dataset, train=train, validation=hold(dataset.validation), test=hold(dataset.test))


def _fits(images: Images, count: int, size: int) -> bool:
    return count * images.channels * size * size <= MEMORY_BYTES
