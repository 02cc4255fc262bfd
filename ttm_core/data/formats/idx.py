"""The IDX format of MNIST and Fashion-MNIST (LeCun et al.): `train-images-idx3-ubyte[.gz]`, labels and test files."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ttm_core.data.dataset import Dataset, Split, full_split
from ttm_core.data.images import ArrayImages
from ttm_core.errors import BadDataset
from ttm_core.reader.datasets.idx_file import max_bytes
from ttm_core.reader.process import read_untrusted


def is_idx(folder: Path) -> bool:
    return _find(folder, "train-images-idx3-ubyte") is not None


def read(folder: Path) -> Dataset:
    """Reads training and test images (t10k-*), with labels 0..K-1."""
    files = {prefix: pair for prefix in ("train", "t10k") if (pair := _pair(folder, prefix)) is not None}
    if "train" not in files:
        raise BadDataset("The folder has no train-images-idx3-ubyte[.gz] with train-labels-idx1-ubyte[.gz].")
    contents = iter(_read([path for pair in files.values() for path in pair]))
    splits = {prefix: _split(*pair, next(contents), next(contents)) for prefix, pair in files.items()}
    classes = 1 + max(int(split.labels.max()) for split in splits.values())
    train = splits["train"]
    pixels = train.images.pixels if isinstance(train.images, ArrayImages) else None
    square = pixels is not None and pixels.shape[-1] == pixels.shape[-2]
    return Dataset(
        train=train,
        validation=None,
        test=splits.get("t10k"),
        class_names=[str(label) for label in range(classes)],
        image_size=pixels.shape[-1] if pixels is not None and square else None,
        unreadable=[],
        unlabelled=None,
    )


def _pair(folder: Path, prefix: str) -> tuple[Path, Path] | None:
    """The files of a split's images and labels."""
    images, labels = _find(folder, f"{prefix}-images-idx3-ubyte"), _find(folder, f"{prefix}-labels-idx1-ubyte")
    return None if images is None or labels is None else (images, labels)


def _split(images: Path, labels: Path, pixels: NDArray[np.uint8], numbers: NDArray[np.uint8]) -> Split:
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


def _read(files: list[Path]) -> list[NDArray[np.uint8]]:
    """Reads IDX files of unsigned bytes in a reader process: uint8 in the shapes of their headers."""
    with tempfile.TemporaryDirectory(prefix="ttm-idx-") as folder:
        shapes = read_untrusted(
            "idx",
            {"files": [str(path) for path in files], "target": folder},
            input_bytes=sum(path.stat().st_size for path in files),
            file_bytes=max(map(max_bytes, files)),
            error=BadDataset,
            subject="The IDX file",
            reads=files,
            writes=[folder],
        )
        return [
            np.fromfile(Path(folder) / f"{path.name}.bytes", np.uint8).reshape(shape)
            for path, shape in zip(files, shapes, strict=True)
        ]
