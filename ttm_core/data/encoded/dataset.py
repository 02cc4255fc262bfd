"""Datasets of encoded images (JPEG, PNG, ...). Every image is decoded once for validation, then at every access."""

import os
import warnings
from array import array
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ttm_core.data.dataset import Dataset, Split, Unreadable, full_split
from ttm_core.data.encoded.decoding import Source, decode, is_gray, opened
from ttm_core.data.formats.layout import NO_LABEL, SplitName
from ttm_core.data.images import EncodedImages, Sources, map_ordered
from ttm_core.errors import BadDataset

MAX_CLASSES = 100_000


@dataclass(frozen=True)
class EncodedSplit:
    """N encoded images of one split, before validation."""

    names: Sequence[str]  # for error messages
    sources: Sources
    labels: NDArray[np.int64]  # [N]


class Slices:
    """Byte ranges of large files, read on access.

    Args:
        files: they stay open as long as this object exists.
        ranges: int64 [N, 3]: file index, offset and length in bytes.
    """

    def __init__(self, files: Sequence[Path], ranges: NDArray[np.int64]) -> None:
        self._open = [path.open("rb", buffering=0) for path in files]
        self._ranges = ranges

    def __len__(self) -> int:
        return len(self._ranges)

    def __getitem__(self, index: int, /) -> bytes:
        file, offset, length = (int(value) for value in self._ranges[index])
        # pread does not move the file position, so threads can share the descriptor.
        return os.pread(self._open[file].fileno(), length, offset)


@dataclass(frozen=True)
class _Readable:
    """The decodable images among the sources, renumbered."""

    sources: Sources
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Source:
        return self.sources[int(self.rows[index])]


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    gray: bool


def build_dataset(
    found: Mapping[SplitName, EncodedSplit], class_names: list[str], *, max_unreadable: float, pool: ThreadPoolExecutor
) -> Dataset:
    """Decodes every image once and leaves out unreadable images.

    Raises:
        BadDataset: more than `max_unreadable` (a share) of the images cannot be decoded.
    """
    unreadable: list[Unreadable] = []
    kept: dict[SplitName, NDArray[np.int64]] = {}
    all_gray = True
    sizes: set[tuple[int, int]] = set()
    for name, split in found.items():
        decodable = array("q")
        for index, result in enumerate(map_ordered(pool, partial(_inspect, split.sources), len(split.sources))):
            if isinstance(result, _Header):
                decodable.append(index)
                if name == "unlabelled":
                    continue  # the labelled images determine size and channels
                all_gray = all_gray and result.gray
                if len(sizes) < 2:
                    sizes.add((result.width, result.height))
            else:
                unreadable.append(Unreadable(split.names[index], result))
        kept[name] = np.array(decodable, dtype=np.int64)
    total = sum(len(split.sources) for split in found.values())
    if total and len(unreadable) > max_unreadable * total:
        listed = "; ".join(f"{bad.name}: {bad.reason}" for bad in unreadable[:5])
        raise BadDataset(f"{len(unreadable)} of {total} images cannot be read: {listed}")

    channels = 1 if sizes and all_gray else 3
    width, height = sizes.pop() if len(sizes) == 1 else (0, 1)

    def build_split(name: SplitName) -> Split | None:
        if name not in found:
            return None
        split, rows = found[name], kept[name]
        images = EncodedImages(_Readable(split.sources, rows), channels, pool)
        labels = split.labels[rows]
        return full_split(images, torch.from_numpy(np.full_like(labels, NO_LABEL) if name == "unlabelled" else labels))

    train = build_split("train")
    assert train is not None, "readers reject datasets without training images"
    return Dataset(
        train=train,
        validation=build_split("validation"),
        test=build_split("test"),
        unlabelled=build_split("unlabelled"),
        class_names=class_names,
        image_size=width if width == height else None,
        unreadable=unreadable,
    )


def class_numbers(found: Mapping[SplitName, EncodedSplit]) -> list[str]:
    """Class names "0", "1", ... for a format with numbered classes. Raises BadDataset for a label out of range."""
    highest = max(int(split.labels.max(initial=-1)) for name, split in found.items() if name != "unlabelled")
    if highest >= MAX_CLASSES:
        raise BadDataset(
            f"Label {highest} is out of range: labels must be 0..K-1, with at most {MAX_CLASSES:,} classes."
        )
    return [str(label) for label in range(highest + 1)]


def _inspect(sources: Sources, index: int) -> _Header | str:
    try:
        source = sources[index]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with opened(source) as image:
                header = _Header(image.width, image.height, is_gray(image))
        decode(source, 1)
    except Exception as error:  # Pillow's decoders raise exceptions of any type for damaged files
        return f"{type(error).__name__}: {error}"
    return header
