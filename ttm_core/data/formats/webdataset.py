"""WebDataset shards: tar files of samples, `key.jpg` with `key.cls` (a number) or `key.json` (with a `label`). Labels
are optional.

Shards are indexed once and read in place, not unpacked. Shard names are never executed as commands.
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ttm_core.data.archives.tar_headers import BoundedTarInfo
from ttm_core.data.archives.unpack import Limits
from ttm_core.data.dataset import Dataset
from ttm_core.data.encoded.dataset import EncodedSplit, build_dataset, class_numbers
from ttm_core.data.encoded.manifest import Reading, Slices
from ttm_core.data.formats import image_folder, layout
from ttm_core.data.formats.image_folder import EXTENSIONS
from ttm_core.data.formats.layout import NO_LABEL
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
    return any(f".{kind}" in EXTENSIONS for kind in kinds)


def _first_files(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The keys and kinds of the first two members of a plain tar; empty for other files."""
    try:
        with tarfile.open(path, "r:", tarinfo=BoundedTarInfo) as opened:
            names = [member.name for _, member in zip(range(2), opened, strict=False) if member.isreg()]
    except (tarfile.TarError, OSError, RecursionError, BadDataset):
        return (), ()
    parts = [_parts(name) for name in names]
    return tuple(key for key, _ in parts), tuple(kind for _, kind in parts)


def read(root: Path, reading: Reading) -> Dataset:
    """Reads the shards of a folder, or one shard. Class names come from `classnames.txt`, if the folder has it.

    Raises:
        BadDataset: a shard is damaged or compressed, or only some samples have a label.
    """
    shards: dict[layout.SplitName, list[Path]] = {"train": [root]} if root.is_file() else _shards(root)
    if not shards:
        raise BadDataset("The folder has no shards (*.tar).")
    found = {split: _index(paths, with_labels=split != "unlabelled") for split, paths in shards.items()}
    return build_dataset(found, _class_names(root, class_numbers(found)), reading)


def _shards(root: Path) -> dict[layout.SplitName, list[Path]]:
    return layout.split_files(root, ".tar")


def _index(paths: list[Path], *, with_labels: bool) -> EncodedSplit:
    names, labels, ranges = [], [], []
    labelled, unlabelled = False, None
    for number, path in enumerate(paths):
        for sample in _samples(path):
            labelled = labelled or sample.label is not None
            if sample.image is None:
                continue
            if sample.label is None:
                unlabelled = unlabelled or f"{path.name} contains {sample.key!r}"
            names.append(f"{path.name}/{sample.key}")
            labels.append(NO_LABEL if sample.label is None else sample.label)
            ranges.append((number, *sample.image))
            if len(names) > Limits.members:
                raise BadDataset(f"The dataset has more than {Limits.members:,} samples.")
    if with_labels and labelled and unlabelled:
        raise BadDataset(f"{unlabelled} without a label (.cls or .json), but other samples have one.")
    sources = Slices(paths, np.array(ranges, dtype=np.int64).reshape(-1, 3))
    return EncodedSplit(names.__getitem__, sources, np.array(labels, dtype=np.int64))


def _samples(path: Path) -> Iterator[_Sample]:
    """Yields the samples of a shard: consecutive members with the same key."""
    size = path.stat().st_size
    sample: _Sample | None = None
    try:
        with tarfile.open(path, "r:", tarinfo=BoundedTarInfo) as opened:
            for member in opened:
                opened.members = []  # type: ignore[attr-defined]  # otherwise tarfile keeps the headers of all members
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise BadDataset(f"{path.name} contains a link or device: {member.name!r}")
                if member.offset_data + member.size > size:
                    raise BadDataset(f"{path.name} is truncated inside {member.name!r}.")
                key, kind = _parts(member.name)
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    sample = _Sample(key)
                if f".{kind}" in EXTENSIONS:
                    if member.size > _MAX_IMAGE_BYTES:
                        raise BadDataset(
                            f"{member.name!r} has {member.size:,} bytes, more than the limit of "
                            f"{_MAX_IMAGE_BYTES:,} for an image."
                        )
                    sample.image = (member.offset_data, member.size)
                elif kind in ("cls", "json"):
                    stream = opened.extractfile(member)
                    assert stream is not None, "a regular file"
                    label = _label(kind, stream.read(_MAX_LABEL_BYTES), f"{path.name}/{member.name}")
                    sample.label = label if sample.label is None else sample.label
    except (tarfile.TarError, EOFError, RecursionError) as error:
        raise BadDataset(f"{path.name} is not an uncompressed tar: {error}") from error
    if sample is not None:
        yield sample


def _parts(name: str) -> tuple[str, str]:
    """Splits a member name at the first dot of its file name into key and kind."""
    path = PurePosixPath(name)
    stem, _, kind = path.name.partition(".")
    return str(path.parent / stem), kind.lower()


def _label(kind: str, text: bytes, name: str) -> int | None:
    """The label in a `.cls` file, or the optional label of a `.json` file."""
    try:
        content = {"label": int(text)} if kind == "cls" else dict(json.loads(text))
        label = next((content[key] for key in ("label", "cls", "class") if key in content), None)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadDataset(f"{name} contains no label: {error}") from error
    if label is not None and (type(label) is not int or not 0 <= label < 2**31):
        raise BadDataset(f"{name} contains label {label!r}, which is not a non-negative integer.")
    return label


def _class_names(root: Path, numbers: list[str]) -> list[str]:
    path = root / _CLASS_NAMES
    if root.is_file() or not path.is_file():
        return numbers
    layout.within(root, [path])
    try:
        names = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise BadDataset(f"{_CLASS_NAMES} is not a UTF-8 text file.") from error
    if len(names) < len(numbers) or len(set(names)) != len(names):
        raise BadDataset(
            f"{_CLASS_NAMES} must name {len(numbers)} classes, one per line; it has {len(set(names))} different names."
        )
    return names
