"""Reads a dataset from a local path. Dataset formats are registered here."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import assert_never

import torch

from ttm_core.data.archives.unpack import Limits
from ttm_core.data.cache import DataCache
from ttm_core.data.dataset import Dataset, Split, check, empty_classes, full_split, hold_out
from ttm_core.data.encoded.manifest import Reading
from ttm_core.data.formats import cifar_binary, cifar_python, idx, image_folder, layout, parquet, webdataset
from ttm_core.data.images import Images, Selection, in_memory
from ttm_core.errors import BadDataset
from ttm_core.reader.process import read_untrusted
from ttm_core.spec.dataset import DatasetSpec, FormatName

# Training sets up to this many decoded bytes are kept in memory; larger ones are decoded for every view.
MEMORY_BYTES = 2 * 2**30


def read_dataset(spec: DatasetSpec, path: Path, cache: DataCache, pool: ThreadPoolExecutor) -> Dataset:
    """Reads the dataset at `path`: a folder, a WebDataset shard, a Parquet file or an archive.

    Archives are unpacked into `cache` under their hash. The cache must stay open while the dataset is in use. Holds out
    a validation split if the dataset has none.

    Raises:
        BadDataset: the dataset is missing, unsafe, damaged or too small.
    """
    if not path.exists():
        raise BadDataset(f"The dataset {spec.uri} does not exist.")
    dataset = read_path(spec.format, path, Reading(spec.max_unreadable, pool, cache))
    check(dataset)
    dataset = replace(dataset, warnings=[*dataset.warnings, *empty_classes(dataset)])
    if dataset.validation is None:
        train, validation = hold_out(dataset.train, spec.validation.share, spec.validation.seed)
        dataset = replace(dataset, train=train, validation=validation)
    return dataset


def find_root(path: Path, name: FormatName, reading: Reading) -> tuple[Path, Reading]:
    """The folder or the only file of a dataset, and how to read it. Unpacks archives into the cache."""
    if path.is_dir():
        return layout.root(path), reading
    is_shard = webdataset.is_shard(path) or (name == "webdataset" and webdataset.opens_with_image(path))
    if is_shard or parquet.is_parquet(path):
        return path, reading
    with path.open("rb") as stream:
        content = f"archive-{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    unpacked = reading.cache.folder(content, lambda folder: _unpack(path, folder / "files"))
    return layout.root(unpacked / "files"), replace(reading, content=content)


def _unpack(archive: Path, target: Path) -> None:
    size = archive.stat().st_size
    read_untrusted(
        "archive",
        {"source": str(archive.resolve()), "target": str(target.resolve())},
        input_bytes=size,
        file_bytes=Limits().budget(size),
        error=BadDataset,
        subject="The archive",
        reads=[archive],
        writes=[target.parent],
    )


def read_path(name: FormatName, path: Path, reading: Reading) -> Dataset:
    """Reads a folder, file or archive without checking its labels or holding images out. Raises BadDataset."""
    return read_root(name, *find_root(path, name, reading))


def read_root(name: FormatName, root: Path, reading: Reading) -> Dataset:
    """Reads a folder, a shard or a Parquet file, as `read_path`."""
    if root.is_file() and name not in ("auto", found := detect(root)):
        raise BadDataset(f"The dataset is a single file of the format {found}, but dataset.format is {name}.")
    match name:
        case "auto":
            return read_root(detect(root), root, reading)
        case "image_folder":
            return image_folder.read(root, reading)
        case "idx":
            return idx.read(root)
        case "cifar_binary":
            return cifar_binary.read(root)
        case "cifar_python":
            return cifar_python.read(root)
        case "webdataset":
            return webdataset.read(root, reading)
        case "parquet":
            content = parquet.cache_name(root)
            packed = reading.cache.folder(content, lambda folder: parquet.pack(root, folder))
            return parquet.read(packed, replace(reading, content=content))
        case _:
            assert_never(name)


_DETECTORS: dict[FormatName, Callable[[Path], bool]] = {
    "idx": idx.is_idx,
    "cifar_binary": cifar_binary.is_cifar_binary,
    "cifar_python": cifar_python.is_cifar_python,
    "webdataset": webdataset.is_webdataset,
    "parquet": parquet.is_parquet,
    "image_folder": image_folder.is_image_folder,
}


def detect(root: Path) -> FormatName:
    """Detects the format of a folder, a shard or a Parquet file. Raises BadDataset if no format matches."""
    if root.is_file():
        return "parquet" if parquet.is_parquet(root) else "webdataset"
    for name, is_format in _DETECTORS.items():
        if is_format(root):
            return name
    others = [layout.split_folder(root, split) for split in layout.SPLIT_NAMES if split != "train"]
    named = next((folder.name for folder in others if folder is not None), None)
    if named is not None and layout.split_folder(root, "train") is None:
        raise BadDataset(f"The dataset has a folder {named!r}, but no training images: add a folder train.")
    raise BadDataset(
        "The dataset has an unknown format. Supported: train/<class>/image, <class>/image, images without classes, IDX "
        "files, CIFAR's binary or Python batches, WebDataset shards (*.tar), and *.parquet."
    )


def held_in_memory(dataset: Dataset, size: int, *, whole_train_images: bool) -> Dataset:
    """Decodes splits that fit in memory to squares of `size` pixels, once.

    Training images are decoded only if every view starts from the whole image. The training split keeps its indices,
    because views are drawn by image index.
    """
    train = dataset.train
    if whole_train_images and _fits(train.images, len(train.images), size):
        train = replace(train, images=in_memory(train.images, size))

    def decoded(split: Split | None) -> Split | None:
        if split is None:
            return None
        if split.images is dataset.train.images and train.images is not dataset.train.images:
            return replace(split, images=train.images)
        if not _fits(split.images, len(split), size):
            return split
        pixels = in_memory(Selection(split.images, split.indices), size)
        return full_split(pixels, split.labels[torch.from_numpy(split.indices)])

    return replace(dataset, train=train, validation=decoded(dataset.validation), test=decoded(dataset.test))


def _fits(images: Images, count: int, size: int) -> bool:
    return count * images.channels * size * size <= MEMORY_BYTES
