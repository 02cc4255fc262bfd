"""Converts a file of torch.save to safetensors: finds the state dicts and copies their tensors."""

import json
import re
import struct
import zipfile
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from ttm_core.errors import BadCheckpoint
from ttm_core.reader.pickles.unpickle import ITEM_BYTES, Array, Storage, Tensor, Unsupported, unpickle
from ttm_core.reader.placeholders import PLACEHOLDERS

# What training scripts save next to the weights, and no model is under.
_NO_MODEL = re.compile(r"optim|sched|scaler|^opt$")
_DEEPEST = 4
_MOST_VISITED = 100_000
_MOST_DICTS = 64  # the largest ones; others have no whole model
_MAX_TENSORS = 100_000
_MAX_NAME = 1024
_MAX_PICKLE_BYTES = 256 * 2**20
# Tied weights are copied once for each name.
_MAX_EXPANSION = 4
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001

# Files that are mistaken for checkpoints, by their first bytes, and what to do.
_OTHERS = {
    b"{": "a JSON file, such as the index of a checkpoint in several files. Join these files to one state dict",
    **PLACEHOLDERS,
    b"\x89HDF": "an HDF5 file, for example of Keras. Export the model to ONNX",
    b"GGUF": "a GGUF file. Save the state dict of a PyTorch model",
    b"\x93NUMPY": "a NumPy array. Save the state dict of a PyTorch model",
    b"\x1f\x8b": "compressed with gzip. Unpack it",
    b"BZh": "compressed with bzip2. Unpack it",
    b"\xfd7zXZ": "compressed with xz. Unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard. Unpack it",
}

_Read = Callable[[Storage], bytes]


def convert(source: Path, target: Path) -> list[str]:
    """Writes the state dicts of the checkpoint `source` to `target` as safetensors.

    Returns:
        The prefix of the names of each state dict: `state_dict.` under this key, empty for the file itself.

    Raises:
        BadCheckpoint: the file is unsafe or damaged, or has another layout.
    """
    with _tensors(source) as (tensors, roots, read):
        _write(target, tensors, read)
    return roots


def read_shapes(source: Path) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The shapes of the tensors by name, and the prefixes as `convert` returns them. Reads no numbers. Raises
    BadCheckpoint.
    """
    with _tensors(source) as (tensors, roots, _):
        return {name: tensor.shape for name, tensor in tensors.items()}, roots


def read_numbers(source: Path, names: Container[str]) -> Iterator[tuple[str, str, bytes]]:
    """Yields the name, element type and elements of these tensors. Raises BadCheckpoint."""
    with _tensors(source) as (tensors, _, read):
        yield from _contents({name: tensor for name, tensor in tensors.items() if name in names}, read)


@contextmanager
def _tensors(source: Path) -> Iterator[tuple[dict[str, Tensor], list[str], _Read]]:
    """The tensors of an open file by name, the prefixes as `convert` returns them, and the reader of storages."""
    with _opened(source) as (loaded, read):
        tensors, roots = _find_tensors(loaded)
        _check(tensors, source.stat().st_size)
        yield tensors, roots, read


@contextmanager
def _opened(source: Path) -> Iterator[tuple[Any, _Read]]:
    with source.open("rb") as stream:
        # The first bytes decide what the file is, for this reader and therefore for every later one.
        zipped = stream.read(4) == b"PK\3\4"
        if not zipped:
            if problem := _problem_of_others(stream):
                raise BadCheckpoint(problem)
            stream.seek(0)
            yield _read_legacy(stream)
            return
        try:
            with zipfile.ZipFile(stream) as archive:
                yield _read_zip(archive, source.stat().st_size)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError, EOFError) as error:
            raise BadCheckpoint(f"The checkpoint is a damaged zip archive: {error}") from error


def problem_of_others(source: Path) -> str | None:
    """What a file is that torch.save did not write, and what to do with it; None if its bytes do not show it."""
    with source.open("rb") as stream:
        if stream.read(4) != b"PK\3\4":
            return _problem_of_others(stream)
        with suppress(zipfile.BadZipFile, ValueError), zipfile.ZipFile(stream) as archive:
            return _problem_of_program(archive)
    return None


def _problem_of_others(stream: IO[bytes]) -> str | None:
    stream.seek(0)
    head = stream.read(512)
    if head.startswith(b"PK\3\4"):
        return None
    if head[257:262] == b"ustar":
        return (
            "The checkpoint is a tar archive, which the first releases of PyTorch wrote. If it is one of those and you "
            "trust it, load it with torch.load(path, weights_only=False) and save the state dict again. Unpack others."
        )
    for start, kind in _OTHERS.items():
        if head.startswith(start):
            return f"The checkpoint is {kind}."
    if zipfile.is_zipfile(stream):
        with suppress(zipfile.BadZipFile, ValueError), zipfile.ZipFile(stream) as archive:
            first = min((entry.header_offset for entry in archive.infolist()), default=0)
            if first > 0:
                return (
                    f"The checkpoint is a zip archive after {first:,} other bytes, which are not part of it. Copy or "
                    "download the file again, or remove these bytes."
                )
    return None


def _read_zip(archive: zipfile.ZipFile, size: int) -> tuple[Any, _Read]:
    entries = archive.infolist()
    if problem := _problem_of_program(archive):
        raise BadCheckpoint(problem)
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
        raise BadCheckpoint("The checkpoint has compressed entries, which torch.save does not write.")
    if sum(entry.file_size for entry in entries) > size:
        raise BadCheckpoint("The entries of the checkpoint claim more bytes than the file has.")
    by_name = {entry.filename: entry for entry in entries}
    if len(by_name) != len(entries):
        raise BadCheckpoint("The checkpoint contains an entry twice.")
    pickles = [entry for entry in entries if entry.filename.count("/") == 1 and entry.filename.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise BadCheckpoint("The checkpoint is a zip archive without the data.pkl that torch.save writes.")
    folder = pickles[0].filename.removesuffix("data.pkl")
    order = by_name.get(f"{folder}byteorder")
    if order is not None and archive.read(order) != b"little":
        raise BadCheckpoint("The checkpoint has big-endian numbers.")
    if pickles[0].file_size > _MAX_PICKLE_BYTES:
        raise BadCheckpoint(f"The data.pkl of the checkpoint has more than {_MAX_PICKLE_BYTES:,} bytes.")

    def read(storage: Storage) -> bytes:
        entry = by_name.get(f"{folder}data/{storage.key}")
        if entry is None:
            raise BadCheckpoint("The checkpoint lacks a storage that a tensor refers to.")
        return archive.read(entry)

    with archive.open(pickles[0]) as stream:
        return unpickle(stream), read


def _problem_of_program(archive: zipfile.ZipFile) -> str | None:
    """What to do with a program of torch.export (in the formats before and since PyTorch 2.7) or TorchScript; None for
    other archives.
    """
    names = archive.namelist()
    inner = {name.partition("/")[2] or name for name in names}
    if "archive_format" in inner or "serialized_exported_program.json" in inner:
        kind = "a program of torch.export"
    elif any(name.endswith(("constants.pkl", ".py")) or "/code/" in name for name in names):
        kind = "a TorchScript program"
    else:
        return None
    return f"The checkpoint is {kind}. Save the state dict instead: torch.save(model.state_dict(), path)."


def _read_legacy(stream: IO[bytes]) -> tuple[Any, _Read]:
    """The format before PyTorch 1.6: pickles, then for each storage its number of elements and its bytes."""
    if unpickle(stream) != _LEGACY_MAGIC or unpickle(stream) != _LEGACY_VERSION:
        raise BadCheckpoint("The checkpoint cannot be read: it is a pickle or another file, not one of torch.save.")
    unpickle(stream)  # facts about the machine that wrote it
    stored: dict[str, Storage] = {}
    loaded = unpickle(stream, stored)
    keys = unpickle(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise BadCheckpoint("The checkpoint has no list of storages.")
    ranges: dict[str, tuple[int, int]] = {}
    position = stream.tell()
    end = stream.seek(0, 2)
    for key in keys:
        stream.seek(position)
        head = stream.read(8)
        storage = stored.get(key)
        if len(head) != 8 or storage is None:
            raise BadCheckpoint("The checkpoint is truncated: it lacks storages.")
        length = struct.unpack("<q", head)[0] * storage.item_bytes
        if length < 0 or position + 8 + length > end:
            raise BadCheckpoint("The checkpoint is truncated, or claims more elements than the file contains.")
        ranges[key] = (position + 8, length)
        position += 8 + length

    def read(storage: Storage) -> bytes:
        if storage.key not in ranges:
            raise BadCheckpoint("The checkpoint lacks a storage that a tensor refers to.")
        start, length = ranges[storage.key]
        stream.seek(start)
        return stream.read(length)

    return loaded, read


def _find_tensors(loaded: Any) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of all state dicts by name, and the prefix of the names of each."""
    if not isinstance(loaded, dict):
        kind = "tensor" if isinstance(loaded, Tensor) else type(loaded).__name__
        raise BadCheckpoint(f"The checkpoint contains a {kind}, not a state dict.")
    found: list[tuple[str, dict[str, Tensor]]] = []
    unsupported: list[str] = []
    arrays: list[str] = []
    for prefix, values in islice(_dicts(loaded, "", ()), _MOST_VISITED):
        bad = [name for name, value in values.items() if isinstance(value, Unsupported)]
        unsupported += [f"{prefix}{name}" for name in bad]
        arrays += [f"{prefix}{name}" for name, value in values.items() if isinstance(value, Array)]
        own = {f"{prefix}{name}": value for name, value in values.items() if isinstance(value, Tensor)}
        if own and not bad:
            found.append((prefix, own))
    if found:
        found.sort(key=lambda entry: -len(entry[1]))
        kept = found[:_MOST_DICTS]
        return {name: tensor for _, own in reversed(kept) for name, tensor in own.items()}, [root for root, _ in kept]
    if unsupported:
        raise BadCheckpoint(
            f"Tensor {unsupported[0][:100]!r} is sparse, quantized or complex, or has an unsupported element type."
        )
    if arrays:
        raise BadCheckpoint(
            f"The checkpoint contains NumPy arrays, such as {arrays[0][:100]!r}, and no tensors. Convert them with "
            "torch.from_numpy and save the state dict again."
        )
    keys = ", ".join(repr(key)[:100] if isinstance(key, str | int) else "..." for key in list(loaded)[:8])
    raise BadCheckpoint(f"The checkpoint contains no state dict. Its keys: {keys or 'none'}")


def _dicts(
    values: dict[Any, Any], prefix: str, parents: tuple[dict[Any, Any], ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the dicts in a checkpoint that may have weights, with the prefix of their names."""
    inside = (*parents, values)
    named = {name: value for name, value in values.items() if isinstance(name, str)}
    yield prefix, named
    for name, value in named.items():
        if not isinstance(value, dict) or len(parents) == _DEEPEST or _NO_MODEL.search(name):
            continue
        if not any(value is parent for parent in inside):
            yield from _dicts(value, f"{prefix}{name}.", inside)


def _check(tensors: dict[str, Tensor], size: int) -> None:
    if len(tensors) > _MAX_TENSORS:
        raise BadCheckpoint(f"The checkpoint has more than {_MAX_TENSORS:,} tensors.")
    for name, tensor in tensors.items():
        if len(name) > _MAX_NAME:
            raise BadCheckpoint(f"The checkpoint has a tensor name of more than {_MAX_NAME:,} characters.")
        if tensor.bytes > size:
            raise BadCheckpoint(f"Tensor {name!r} claims {tensor.elements:,} elements, more than the file contains.")
    if sum(tensor.bytes for tensor in tensors.values()) > _MAX_EXPANSION * size:
        raise BadCheckpoint(
            f"The tensors share storage and together have more than {_MAX_EXPANSION} times the bytes of the file."
        )


def _write(target: Path, tensors: dict[str, Tensor], read: _Read) -> None:
    """Writes safetensors."""
    header, position = {}, 0
    for name, tensor in _by_storage(tensors):
        span = [position, position + tensor.bytes]
        header[name] = {"dtype": tensor.kind, "shape": list(tensor.shape), "data_offsets": span}
        position = span[1]
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with target.open("wb") as out:
        out.write(struct.pack("<Q", len(encoded)) + encoded)
        for _, _, elements in _contents(tensors, read):
            out.write(elements)


def _by_storage(tensors: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    return sorted(tensors.items(), key=lambda item: item[1].storage.key)


def _contents(tensors: dict[str, Tensor], read: _Read) -> Iterator[tuple[str, str, bytes]]:
    """Yields the name, element type and elements of the tensors in the order of their storages. Each storage is read
    once.
    """
    key, content = None, b""
    for name, tensor in _by_storage(tensors):
        if tensor.storage.key != key:
            key, content = tensor.storage.key, b""
            content = read(tensor.storage)
        yield name, tensor.kind, _elements(name, tensor, content)


def _elements(name: str, tensor: Tensor, content: bytes) -> bytes:
    """The elements of a tensor in row-major order."""
    item = ITEM_BYTES[tensor.kind]
    start = tensor.storage.offset * tensor.storage.item_bytes + tensor.offset * item
    last = sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides, strict=True))
    if tensor.elements and start + (last + 1) * item > len(content):
        raise BadCheckpoint(f"Tensor {name!r} claims {tensor.elements:,} elements, more than the file contains.")
    if not tensor.elements:
        return b""
    flat = np.frombuffer(content, np.uint8, (last + 1) * item, start).view(f"V{item}")
    strides = [stride * item for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
    return np.ascontiguousarray(view).tobytes()
