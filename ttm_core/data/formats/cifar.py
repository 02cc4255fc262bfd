"""Code shared by the CIFAR-10 and CIFAR-100 formats (Krizhevsky 2009): 32 x 32 pixels in red, green, blue planes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ttm_core.data.dataset import Dataset, Split, full_split
from ttm_core.data.images import ArrayImages
from ttm_core.errors import BadDataset

SIDE = 32
PIXELS = 3 * SIDE * SIDE
# The published files have 31 or 154 MB.
MAX_FILE_BYTES = 2**30


def split(pixels: Sequence[NDArray[np.uint8]], labels: Sequence[NDArray[np.int64]]) -> Split:
    """Concatenates the pixels [n, 3072] and labels [n] of several files."""
    stacked = torch.from_numpy(np.concatenate(pixels)).view(-1, 3, SIDE, SIDE)
    return full_split(ArrayImages(stacked), torch.from_numpy(np.concatenate(labels)))


def dataset(train: Split, test: Split | None, class_names: list[str]) -> Dataset:
    """Builds the dataset. Classes are numbered if the archive has no class names."""
    if not class_names:
        highest = max(int(part.labels.max()) for part in (train, test) if part is not None and len(part))
        class_names = [str(label) for label in range(highest + 1)]
    return Dataset(
        train=train,
        validation=None,
        test=test,
        unlabelled=None,
        class_names=class_names,
        image_size=SIDE,
        unreadable=[],
    )


def size(path: Path) -> int:
    """The size of a file in bytes. Raises BadDataset if it is too large for CIFAR."""
    found = path.stat().st_size
    if found > MAX_FILE_BYTES:
        raise BadDataset(f"{path.name} has {found:,} bytes, which is too large for a CIFAR file.")
    return found


def content(path: Path) -> bytes:
    """Reads a file. Raises BadDataset if it is too large for CIFAR."""
    size(path)
    return path.read_bytes()
