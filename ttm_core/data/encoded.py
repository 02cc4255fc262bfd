"""Splits of encoded images (JPEG, PNG, ...), wherever their bytes lie: each is decoded once, then at every access."""

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

from ttm_core.data.dataset import Dataset, Split, Unreadable, whole
from ttm_core.data.formats.layout import SplitName
from ttm_core.data.images import EncodedImages, Source, Sources, decode, is_gray, map_ordered, opened
from ttm_core.errors import BadDataset

MAX_CLASSES = 100_000


@dataclass(frozen=True)
class EncodedSplit:
    """What a reader found for one split: N images, none of them looked at yet."""

    names: Sequence[str]  # for messages
    sources: Sources
    labels: NDArray[np.int64]  # [N]


class Slices:
    """Parts of large files, read when asked for.

    Args:
        files: the files, open as long as this object lives.
        where: int64 [N, 3]: for each part its file's number, its offset and its length in bytes.
    """

    def __init__(self, files: Sequence[Path], where: NDArray[np.int64]) -> None:
        self._open = [path.open("rb", buffering=0) for path in files]
        self._where = where

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, index: int, /) -> bytes:
        file, offset, length = (int(value) for value in self._where[index])
        # pread leaves the file's position alone, so that threads may share it.
        return os.pread(self._open[file].fileno(), length, offset)


@dataclass(frozen=True)
class _Readable:
    """Those of the sources that could be decoded, numbered anew."""

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
    """Decode every image once, so that what cannot be decoded is known, listed and left out before training.

    Raises BadDataset when more than `max_unreadable` (a share) of the images cannot be decoded.
    """
    unreadable: list[Unreadable] = []
    kept: dict[SplitName, NDArray[np.int64]] = {}
    readable, all_gray = 0, True
    sizes: set[tuple[int, int]] = set()
    for name, split in found.items():
        good = array("q")
        for index, seen in enumerate(map_ordered(pool, partial(_look_at, split.sources), len(split.sources))):
            if isinstance(seen, _Header):
                good.append(index)
                all_gray = all_gray and seen.gray
                if len(sizes) < 2:
                    sizes.add((seen.width, seen.height))
            else:
                unreadable.append(Unreadable(split.names[index], seen))
        readable += len(good)
        kept[name] = np.array(good, dtype=np.int64)
    total = readable + len(unreadable)
    if total and len(unreadable) > max_unreadable * total:
        listed = "; ".join(f"{bad.name}: {bad.reason}" for bad in unreadable[:5])
        raise BadDataset(f"{len(unreadable)} of {total} images cannot be read ({listed})")

    channels = 1 if readable and all_gray else 3
    width, height = sizes.pop() if len(sizes) == 1 else (0, 1)

    def split_of(name: SplitName) -> Split | None:
        if name not in found:
            return None
        split, rows = found[name], kept[name]
        images = EncodedImages(_Readable(split.sources, rows), channels, pool)
        return whole(images, torch.from_numpy(split.labels[rows]))

    train = split_of("train")
    assert train is not None, "readers refuse a dataset without training images"
    return Dataset(
        train=train,
        validation=split_of("validation"),
        test=split_of("test"),
        class_names=class_names,
        image_size=width if width == height else None,
        unreadable=unreadable,
    )


def numbered(found: Mapping[SplitName, EncodedSplit]) -> list[str]:
    """Class names for a format that only numbers its classes: "0", "1", ... Raises BadDataset for a wild number."""
    highest = max(int(split.labels.max(initial=-1)) for split in found.values())
    if highest >= MAX_CLASSES:
        raise BadDataset(f"a label is {highest}: labels are numbered 0..K-1, with at most {MAX_CLASSES:,} classes")
    return [str(label) for label in range(highest + 1)]


def _look_at(sources: Sources, index: int) -> _Header | str:
    try:
        source = sources[index]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with opened(source) as image:
                header = _Header(image.width, image.height, is_gray(image))
        decode(source, 1)
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them stumble over
        return f"{type(error).__name__}: {error}"
    return header
