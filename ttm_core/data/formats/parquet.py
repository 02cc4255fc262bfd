"""Parquet in the layout of the Hugging Face Hub: `train-00000-of-00002.parquet`, with columns `image` and `label`.
Labels are optional. A single file is the training split. A reader process copies the images out of the files
(ttm_core/reader/datasets/parquet_file.py).
"""

import hashlib
import json
from functools import partial
from pathlib import Path

import numpy as np

from ttm_core.data.archives.unpack import Limits
from ttm_core.data.dataset import Dataset
from ttm_core.data.encoded.dataset import EncodedSplit, build_dataset, class_numbers
from ttm_core.data.encoded.manifest import Reading
from ttm_core.data.encoded.slices import Slices
from ttm_core.data.formats import layout
from ttm_core.errors import BadDataset
from ttm_core.reader.process import read_untrusted

_MAGIC = b"PAR1"


def is_parquet(root: Path) -> bool:
    """Whether a folder has Parquet files, or a file is one."""
    if not root.is_file():
        return bool(_files(root))
    with root.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


def cache_name(root: Path) -> str:
    """The cache name of the packed images: a hash of the files and their splits."""
    digest = hashlib.sha256()
    for split, paths in _files(root).items():
        digest.update(split.encode())
        for path in paths:
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return f"parquet-{digest.hexdigest()}"


def read(packed: Path, reading: Reading) -> Dataset:
    """Reads the dataset that `pack` wrote to `packed`."""
    found: dict[layout.SplitName, EncodedSplit] = {}
    for split in layout.SPLIT_NAMES:
        index = packed / f"{split}.npy"
        if index.is_file():
            ranges = np.load(index)
            images = Slices([packed / f"{split}.images"], ranges[:, :3])
            found[split] = EncodedSplit(partial("{} row {}".format, split), images, ranges[:, 3])
    class_names = json.loads((packed / "classes.json").read_text())
    return build_dataset(found, class_names or class_numbers(found), reading)


def pack(root: Path, packed: Path) -> None:
    """Copies the encoded images of each split into one file, because single Parquet rows cannot be read efficiently.

    Raises:
        BadDataset: the image column is missing or ambiguous, a row has no image bytes, or a file is damaged.
    """
    files = _files(root)
    if not files:
        raise BadDataset("The folder has no *.parquet files.")
    size = sum(path.stat().st_size for paths in files.values() for path in paths)
    read_untrusted(
        "parquet",
        {
            "files": {split: [str(path.resolve()) for path in paths] for split, paths in files.items()},
            "target": str(packed.resolve()),
        },
        input_bytes=size,
        file_bytes=Limits().budget(size) + 2**26,
        error=BadDataset,
        subject="The Parquet file",
        reads=[path for paths in files.values() for path in paths],
        writes=[packed],
    )


def _files(root: Path) -> dict[layout.SplitName, list[Path]]:
    return {"train": [root]} if root.is_file() else layout.split_files(root, ".parquet")
