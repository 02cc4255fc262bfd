"""WebDataset shards: tar files of samples, `key.jpg` with `key.cls` (a number) or `key.json` (with a `label`). Labels
are optional.

A reader process indexes the shards once; they are read in place, not unpacked. Shard names are never executed as
commands.
"""

import json
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ttm_core.data.dataset import Dataset
from ttm_core.data.encoded.dataset import EncodedSplit, build_dataset, class_numbers
from ttm_core.data.encoded.manifest import Reading, identity_of
from ttm_core.data.encoded.slices import Slices
from ttm_core.data.formats import image_folder, layout
from ttm_core.errors import BadDataset
from ttm_core.reader.process import read_untrusted
from ttm_core.spec.names import read_class_names

_CLASS_NAMES = "classnames.txt"


def is_shard(path: Path) -> bool:
    """Returns whether a file is certainly a shard: its first two members share a key, and one of them is a label.

    A shard without labels looks like any archive of images.
    """
    keys, kinds = _first_files(path)
    return len(set(keys)) == 1 and len(keys) == 2 and bool({"cls", "json"} & set(kinds))


def is_webdataset(root: Path) -> bool:
    first = [path for files in _shards(root).values() for path in files[:1]]
    if any(map(is_shard, first)):
        return True
    # With class folders present, a tar of images is not the dataset.
    return any(map(opens_with_image, first)) and not image_folder.has_classes(root)


def opens_with_image(path: Path) -> bool:
    """Returns whether a file is a plain tar that begins with an image: an archive, or a shard without labels."""
    _, kinds = _first_files(path)
    return any(f".{kind}" in layout.IMAGE_EXTENSIONS for kind in kinds)


def _first_files(path: Path) -> tuple[Sequence[str], Sequence[str]]:
    """The keys and kinds of the first two members of a plain tar; empty for other files."""
    found = path.stat()
    if found.st_size < tarfile.BLOCKSIZE or not _is_tar_header(path):
        return (), ()
    members = _members_of(path, found.st_size, found.st_mtime_ns)
    return [key for key, _ in members], [kind for _, kind in members]


def _is_tar_header(path: Path) -> bool:
    """Returns whether a file begins with a header of tar, by its checksum: no process is needed for other files."""
    with path.open("rb") as stream:
        block = stream.read(tarfile.BLOCKSIZE)
    try:
        return int(block[148:156].rstrip(b"\0 "), 8) == sum(block[:148]) + 8 * 32 + sum(block[156:])
    except ValueError:
        return False


@lru_cache(maxsize=16)
def _members_of(path: Path, size: int, _modified: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = read_untrusted(
        "first_files",
        {"source": str(path)},
        input_bytes=size,
        file_bytes=0,
        error=BadDataset,
        subject="The archive",
        reads=[path],
    )
    return found


def read(root: Path, reading: Reading) -> Dataset:
    """Reads the shards of a folder, or one shard. Class names come from `classnames.txt`, if the folder has it.

    Raises:
        BadDataset: a shard is damaged or compressed, or only some samples have a label.
    """
    shards: dict[layout.SplitName, list[Path]] = {"train": [root]} if root.is_file() else _shards(root)
    if not shards:
        raise BadDataset("The folder has no shards (*.tar).")
    identity = identity_of([path for paths in shards.values() for path in paths], reading.content)
    with ExitStack() as held:
        if identity is None:
            folder = Path(held.enter_context(TemporaryDirectory(prefix="ttm-shards-")))
            _index(shards, folder)
        else:
            # The same file is a training split on its own, and a test split in a folder.
            folder = reading.cache.folder(f"shards-{'-'.join(shards)}-{identity}", partial(_index, shards))
        found = {split: _split(split, paths, folder) for split, paths in shards.items()}
    return build_dataset(found, _class_names(root, class_numbers(found)), reading)


def _shards(root: Path) -> dict[layout.SplitName, list[Path]]:
    return layout.split_files(root, ".tar")


def _index(shards: Mapping[layout.SplitName, list[Path]], folder: Path) -> None:
    """Writes the index of the shards to `folder`, in a reader process."""
    paths = [path for files in shards.values() for path in files]
    # The names of members are part of the index, and a member has at least one header of 512 bytes.
    size = sum(path.stat().st_size for path in paths)
    read_untrusted(
        "shards",
        {"splits": {split: [str(path) for path in files] for split, files in shards.items()}, "target": str(folder)},
        input_bytes=size,
        file_bytes=size + 2**20,
        error=BadDataset,
        subject="The shard",
        reads=paths,
        writes=[folder],
    )


def _split(name: str, shards: list[Path], folder: Path) -> EncodedSplit:
    rows = np.fromfile(folder / f"{name}.rows", np.int64).reshape(-1, 4)
    names: list[str] = json.loads((folder / f"{name}.json").read_text())
    return EncodedSplit(names.__getitem__, Slices(shards, rows[:, :3]), rows[:, 3])


def _class_names(root: Path, numbers: list[str]) -> list[str]:
    path = root / _CLASS_NAMES
    if root.is_file() or not path.is_file():
        return numbers
    layout.within(root, [path])
    names = read_class_names(path.read_bytes(), _CLASS_NAMES)
    if len(names) < len(numbers) or len(set(names)) != len(names):
        raise BadDataset(
            f"{_CLASS_NAMES} must name {len(numbers)} classes, one per line; it has {len(set(names))} different names."
        )
    return names
