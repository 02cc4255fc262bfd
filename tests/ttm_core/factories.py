"""Small datasets of scikit-learn's handwritten digits (1,797 images, 8 x 8, ten classes) and specs that train on them."""

import gzip
import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ttm_core.spec.job import DistillSpec


@cache
def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 [1797, 8, 8] and labels [1797], read-only."""
    # The file of load_digits. The import of scikit-learn takes a second, in every process that collects tests.
    (package,) = find_spec("sklearn").submodule_search_locations
    rows = np.loadtxt(Path(package) / "datasets/data/digits.csv.gz", delimiter=",")
    images, labels = (rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8), rows[:, -1].astype(int)
    images.flags.writeable = labels.flags.writeable = False
    return images, labels


def write_idx(path: Path, array: NDArray[np.uint8], *, zipped: bool = True) -> Path:
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    content = head + array.tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    return path


def digits_idx(folder: Path, *, train: int = 300, test: int = 200) -> Path:
    """An IDX dataset of the digits."""
    images, labels = digits()
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, part in (("train", slice(0, train)), ("t10k", slice(len(images) - test, None))):
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images[part])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels[part].astype(np.uint8))
    return folder


def digits_folder(folder: Path, *, classes: int = 3, each: int = 8, size: int = 24, mode: str = "RGB") -> Path:
    """An image folder `train/<digit>/`, with a `val` split of half as many."""
    images, labels = digits()
    for split, offset, count in (("train", 0, each), ("val", each, each // 2)):
        for label in range(classes):
            where = folder / split / f"digit-{label}"
            where.mkdir(parents=True, exist_ok=True)
            for number, pixels in enumerate(images[labels == label][offset : offset + count]):
                image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC).convert(mode)
                image.save(where / f"{number:03}.png")
    return folder


def spec(dataset: Path, /, teacher: Path | dict[str, Any] | None = None, **fields: Any) -> DistillSpec:
    """A run of one second: the smallest student, two epochs, one thread, no exports; the teacher may be untrained."""
    training = {"epochs": 2, "batch_size": 32, "threads": 1, **fields.pop("training", {})}
    document: dict[str, Any] = {
        "student": "mini/resnet8_025",
        "dataset": dataset.as_uri(),
        "method": "ce" if teacher is None else "wttm",
        "training": training,
        "exports": [],
    }
    if teacher is not None:
        file = isinstance(teacher, Path)
        document["teacher"] = {"checkpoint": teacher.as_uri(), "allow_chance": True} if file else teacher
    return DistillSpec.model_validate({**document, **fields})
