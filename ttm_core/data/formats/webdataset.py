"""WebDataset shards: tar files of samples, each `key.jpg` beside `key.cls` (a number) or `key.json` (with a `label`).
A split may do without labels.

The tars are indexed once and read in place; nothing is unpacked, and no shard's name is ever run as a command.
"""

import json
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ttm_core.data.archives import Limits
from ttm_core.data.dataset import NO_LABEL, Dataset
from ttm_core.data.encoded import EncodedSplit, Slices, build_dataset, numbered
from ttm_core.data.formats import image_folder, layout
from ttm_core.data.formats.image_folder import EXTENSIONS
from ttm_core.errors import BadDataset

_CLASS_NAMES = "classnames.txt"
_MAX_LABEL_BYTES = 2**20
_MAX_IMAGE_BYTES = 2**28


@dataclass
class _Sample:
    key: str
    image: tuple[int, int] | None = None  # offset and length
    label: int | None = None


def is_shard(path: Path) -> bool:
    """Whether a file is one shard for sure: its first two files share a key, and one of them is a label. A shard
    without labels looks like any archive of images.
    """
    keys, kinds = _first_files(path)
    return len(set(keys)) == 1 and len(keys) == 2 and bool({"cls", "json"} & set(kinds))


def is_webdataset(root: Path) -> bool:
    first = [path for files in _shards(root).values() for path in files[:1]]
    if any(map(is_shard, first)):
        return True
    # Images in a tar beside folders of classes are not what the folder is about.
    return any(map(opens_with_image, first)) and not image_folder.has_classes(root)


def opens_with_image(path: Path) -> bool:
    """Whether a file is a plain tar that begins with an image: an archive, or a shard without labels."""
    _, kinds = _first_files(path)
    return any(f".{kind}" in EXTENSIONS for kind in kinds)


def _first_files(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The keys and kinds of a plain tar's first two files; nothing for any other file."""
    try:
        with tarfile.open(path, "r:") as opened:
            names = [member.name for _, member in zip(range(2), opened, strict=False) if member.isreg()]
    except (tarfile.TarError, OSError):
        return (), ()
    parts = [_parts(name) for name in names]
    return tuple(key for key, _ in parts), tuple(kind for _, kind in parts)


def read(root: Path, *, max_unreadable: float, pool: ThreadPoolExecutor) -> Dataset:
    """Shards of a folder, or one shard. Classes are numbered, or named by the lines of `classnames.txt` beside them.

    Raises BadDataset for a shard that is damaged or compressed, or a sample without a label among others with one.
    """
    shards: dict[layout.SplitName, list[Path]] = {"train": [root]} if root.is_file() else _shards(root)
    if not shards:
        raise BadDataset("no shards *.tar in the folder")
    found = {split: _index(paths) for split, paths in shards.items()}
    return build_dataset(found, _class_names(root, numbered(found)), max_unreadable=max_unreadable, pool=pool)


def _shards(root: Path) -> dict[layout.SplitName, list[Path]]:
    return layout.split_files(root, ".tar")


def _index(paths: list[Path]) -> EncodedSplit:
    names, labels, where = [], [], []
    labelled, bare = False, None
    for number, path in enumerate(paths):
        for sample in _samples(path):
            labelled = labelled or sample.label is not None
            if sample.image is None:
                continue
            if sample.label is None:
                bare = bare or f"{path.name} holds {sample.key!r}"
            names.append(f"{path.name}/{sample.key}")
            labels.append(NO_LABEL if sample.label is None else sample.label)
            where.append((number, *sample.image))
            if len(names) > Limits.members:
                raise BadDataset(f"there are more than {Limits.members:,} samples")
    if labelled and bare:
        raise BadDataset(f"{bare} without a label, but others have one: expected a .cls or .json beside it")
    sources = Slices(paths, np.array(where, dtype=np.int64).reshape(-1, 3))
    return EncodedSplit(names, sources, np.array(labels, dtype=np.int64))


def _samples(path: Path) -> Iterator[_Sample]:
    """Neighboring members of one key are one sample."""
    size = path.stat().st_size
    sample: _Sample | None = None
    try:
        with tarfile.open(path, "r:") as opened:
            for member in opened:
                opened.members = []  # type: ignore[attr-defined]  # else the headers of all members are kept
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise BadDataset(f"{path.name} holds a link or device: {member.name!r}")
                if member.offset_data + member.size > size:
                    raise BadDataset(f"{path.name} is truncated within {member.name!r}")
                key, kind = _parts(member.name)
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    sample = _Sample(key)
                if f".{kind}" in EXTENSIONS:
                    if member.size > _MAX_IMAGE_BYTES:
                        raise BadDataset(f"{member.name!r} has {member.size:,} bytes, too many for an image")
                    sample.image = (member.offset_data, member.size)
                elif kind in ("cls", "json"):
                    stream = opened.extractfile(member)
                    assert stream is not None, "a regular file"
                    label = _label(kind, stream.read(_MAX_LABEL_BYTES), f"{path.name}/{member.name}")
                    sample.label = label if sample.label is None else sample.label
    except (tarfile.TarError, EOFError) as error:
        raise BadDataset(f"{path.name} is no plain tar: shards are not compressed ({error})") from error
    if sample is not None:
        yield sample


def _parts(name: str) -> tuple[str, str]:
    """The key, which is all up to the file name's first dot, and the kind, which is all after it."""
    path = PurePosixPath(name)
    stem, _, kind = path.name.partition(".")
    return str(path.parent / stem), kind.lower()


def _label(kind: str, text: bytes, name: str) -> int | None:
    """From `.cls` the number that it is; from `.json` its label, if it has one."""
    try:
        told = {"label": int(text)} if kind == "cls" else dict(json.loads(text))
        label = next((told[key] for key in ("label", "cls", "class") if key in told), None)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadDataset(f"{name} holds no label: {error}") from error
    if label is not None and (type(label) is not int or not 0 <= label < 2**31):
        raise BadDataset(f"{name} holds the label {label!r}, which is no number from 0")
    return label


def _class_names(root: Path, numbers: list[str]) -> list[str]:
    path = root / _CLASS_NAMES
    if root.is_file() or not path.is_file():
        return numbers
    layout.within(root, [path])
    try:
        names = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise BadDataset(f"{_CLASS_NAMES} is not text") from error
    if len(names) < len(numbers) or len(set(names)) != len(names):
        raise BadDataset(
            f"{_CLASS_NAMES} should name {len(numbers)} classes, one a line; it has {len(set(names))} names"
        )
    return names
