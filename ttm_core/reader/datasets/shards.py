"""Reads the headers and labels of WebDataset shards: uncompressed tar files of samples."""

import json
import tarfile
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ttm_core.data.archives.tar_headers import BoundedTarInfo, check_end
from ttm_core.data.archives.unpack import Limits
from ttm_core.data.formats.layout import IMAGE_EXTENSIONS, NO_LABEL
from ttm_core.errors import BadDataset

_MAX_LABEL_BYTES = 2**20
_MAX_IMAGE_BYTES = 2**28


@dataclass
class _Sample:
    key: str
    image: tuple[int, int] | None = None  # offset and length
    label: int | None = None
    misnamed: str | None = None  # a member such as "key.0.jpg", whose extension is "0.jpg"


def first_files(path: Path) -> list[tuple[str, str]]:
    """The keys and kinds of the first two members of a plain tar; empty for other files."""
    try:
        with tarfile.open(path, "r:", tarinfo=BoundedTarInfo) as opened:
            names = [member.name for _, member in zip(range(2), opened, strict=False) if member.isreg()]
    except (tarfile.TarError, OSError, RecursionError, BadDataset):
        return []
    return [_parts(name) for name in names]


def write_index(splits: Mapping[str, list[Path]], target: Path) -> None:
    """Writes `<split>.rows` (int64 [N, 4]: index of the shard, offset, length, label) and `<split>.json` (the names of
    the samples) for the samples with an image.

    Raises:
        BadDataset: a shard is damaged or compressed, or only some samples have a label.
    """
    for split, paths in splits.items():
        rows, names = _index(paths, with_labels=split != "unlabelled")
        (target / f"{split}.rows").write_bytes(rows.tobytes())
        (target / f"{split}.json").write_text(json.dumps(names))


def _index(paths: list[Path], *, with_labels: bool) -> tuple["array[int]", list[str]]:
    rows, names = array("q"), []
    labelled, unlabelled, misnamed = False, None, None
    for number, path in enumerate(paths):
        for sample in _samples(path):
            labelled = labelled or sample.label is not None
            misnamed = misnamed or sample.misnamed
            if sample.image is None:
                continue
            if sample.label is None:
                unlabelled = unlabelled or f"{path.name} contains {sample.key!r}"
            names.append(f"{path.name}/{sample.key}")
            rows.extend((number, *sample.image, NO_LABEL if sample.label is None else sample.label))
            if len(names) > Limits.members:
                raise BadDataset(f"The dataset has more than {Limits.members:,} samples.")
    if misnamed and not names:
        raise BadDataset(
            f"{misnamed!r} is not read as an image: in WebDataset, a file name up to its first dot is the key of the "
            "sample. Write the shards with keys without dots."
        )
    if with_labels and labelled and unlabelled:
        raise BadDataset(f"{unlabelled} without a label (.cls or .json), but other samples have one.")
    return rows, names


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
                if member.size < 0:
                    raise BadDataset(f"{path.name} contains {member.name!r} with a size below zero.")
                if member.offset_data + member.size > size:
                    raise BadDataset(f"{path.name} is truncated inside {member.name!r}.")
                key, kind = _parts(member.name)
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    sample = _Sample(key)
                if f".{kind}" in IMAGE_EXTENSIONS:
                    if member.size > _MAX_IMAGE_BYTES:
                        raise BadDataset(
                            f"{member.name!r} has {member.size:,} bytes, more than the limit of "
                            f"{_MAX_IMAGE_BYTES:,} for an image."
                        )
                    sample.image = (member.offset_data, member.size)
                elif f".{kind.rpartition('.')[2]}" in IMAGE_EXTENSIONS:
                    sample.misnamed = sample.misnamed or member.name
                elif kind in ("cls", "json"):
                    stream = opened.extractfile(member)
                    assert stream is not None, "a regular file"
                    label = _label(kind, stream.read(_MAX_LABEL_BYTES), f"{path.name}/{member.name}")
                    sample.label = label if sample.label is None else sample.label
            check_end(opened)
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
