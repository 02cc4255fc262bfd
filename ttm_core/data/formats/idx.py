"""The IDX format of MNIST and Fashion-MNIST (LeCun et al.): `train-images-idx3-ubyte[.gz]`, labels and test files."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ttm_core.data.archives.unpack import Limits
from ttm_core.data.dataset import Dataset, Split, full_split
from ttm_core.data.images import ArrayImages
from ttm_core.errors import BadDataset

_UBYTE = 0x08
# Published IDX files are far smaller; a header that claims more is damaged or hostile.
_MAX_BYTES = 16 * 2**30


def is_idx(folder: Path) -> bool:
    return _find(folder, "train-images-idx3-ubyte") is not None


def read(folder: Path) -> Dataset:
    """Reads training and test images (t10k-*), with labels 0..K-1."""
    train = _split(folder, "train")
    if train is None:
        raise BadDataset("The folder has no train-images-idx3-ubyte[.gz] with train-labels-idx1-ubyte[.gz].")
    test = _split(folder, "t10k")
    classes = 1 + max(int(split.labels.max()) for split in (train, test) if split is not None and len(split))
    pixels = train.images.pixels if isinstance(train.images, ArrayImages) else None
    square = pixels is not None and pixels.shape[-1] == pixels.shape[-2]
    return Dataset(
        train=train,
        validation=None,
        test=test,
        class_names=[str(label) for label in range(classes)],
        image_size=pixels.shape[-1] if pixels is not None and square else None,
        unreadable=[],
        unlabelled=None,
    )


def _split(folder: Path, prefix: str) -> Split | None:
    images, labels = _find(folder, f"{prefix}-images-idx3-ubyte"), _find(folder, f"{prefix}-labels-idx1-ubyte")
    if images is None or labels is None:
        return None
    pixels, numbers = _read(images), _read(labels)
    if pixels.ndim != 3 or numbers.ndim != 1 or len(pixels) != len(numbers):
        raise BadDataset(f"{images.name} has shape {pixels.shape} but {labels.name} has shape {numbers.shape}.")
    if not len(pixels):
        raise BadDataset(f"{images.name} contains no images.")
    return full_split(ArrayImages(torch.from_numpy(pixels)[:, None]), torch.from_numpy(numbers.astype(np.int64)))


def _find(folder: Path, stem: str) -> Path | None:
    # Both train-images-idx3-ubyte and train-images.idx3-ubyte are common names.
    for name in (stem, stem.replace("-idx", ".idx")):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def _read(path: Path) -> NDArray[np.uint8]:
    """Reads an IDX file of unsigned bytes as uint8 in the shape of its header."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            zeros, kind, dimensions = struct.unpack(">HBB", stream.read(4))
            if zeros != 0 or kind != _UBYTE or not 1 <= dimensions <= 4:
                raise BadDataset(f"{path.name} is not an IDX file of unsigned bytes.")
            shape = struct.unpack(f">{dimensions}I", stream.read(4 * dimensions))
            size = math.prod(shape)
            limit = min(Limits.ratio * path.stat().st_size + 2**20, _MAX_BYTES)
            if size > limit:
                raise BadDataset(f"{path.name} claims {size:,} bytes in its header; the limit is {limit:,}.")
            data = stream.read(size + 1)
    except (struct.error, OSError, EOFError, zlib.error) as error:
        raise BadDataset(f"{path.name} cannot be read: {error}") from error
    if len(data) != size:
        raise BadDataset(
            f"{path.name} contains {'more' if len(data) > size else 'fewer'} bytes than its header states."
        )
    return np.frombuffer(bytearray(data), np.uint8).reshape(shape)
