"""Converts a file of torch.save to safetensors: finds the state dict and copies its tensors."""

import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from ttm_core.errors import BadCheckpoint
from ttm_core.reader.pickles.unpickle import ITEM_BYTES, Storage, Tensor, Unsupported, unpickle

# Keys under which training scripts save weights; averaged weights first, as in timm.
_WEIGHT_KEYS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params"),
)
_MAX_TENSORS = 100_000
_MAX_NAME = 1024
_MAX_PICKLE_BYTES = 256 * 2**20
# Tied weights are copied once for each name.
_MAX_EXPANSION = 4
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001

_Read = Callable[[Storage], bytes]


def convert(source: Path, target: Path) -> str:
    """Writes the state dict of the checkpoint `source` to `target` as safetensors.

    Returns:
        The layout: the key of the state dict, or "state dict".

    Raises:
        BadCheckpoint: the file is unsafe or damaged, or has another layout.
    """
    with _opened(source) as (loaded, read):
        tensors, layout = _find_tensors(loaded)
        _check(tensors, source.stat().st_size)
        _write(target, tensors, read)
    return layout


def read_shapes(source: Path) -> tuple[dict[str, tuple[int, ...]], str]:
    """The shapes of the state dict's tensors by name, and its layout. Reads no numbers. Raises BadCheckpoint."""
    with _opened(source) as (loaded, _):
        tensors, layout = _find_tensors(loaded)
        _check(tensors, source.stat().st_size)
    return {name: tensor.shape for name, tensor in tensors.items()}, layout


@contextmanager
def _opened(source: Path) -> Iterator[tuple[Any, _Read]]:
    with source.open("rb") as stream:
        # The first bytes decide what the file is, for this reader and therefore for every later one.
        zipped = stream.read(4) == b"PK\3\4"
        stream.seek(0)
        if not zipped:
            yield _read_legacy(stream)
            return
        try:
            with zipfile.ZipFile(stream) as archive:
                yield _read_zip(archive, source.stat().st_size)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError, EOFError) as error:
            raise BadCheckpoint(f"The checkpoint is a damaged zip archive: {error}") from error


def _read_zip(archive: zipfile.ZipFile, size: int) -> tuple[Any, _Read]:
    entries = archive.infolist()
    if any(entry.filename.endswith(("constants.pkl", ".py")) or "/code/" in entry.filename for entry in entries):
        raise BadCheckpoint("The checkpoint is a TorchScript program. Save the state dict instead.")
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


def _find_tensors(loaded: Any) -> tuple[dict[str, Tensor], str]:
    if not isinstance(loaded, dict):
        kind = "tensor" if isinstance(loaded, Tensor) else type(loaded).__name__
        raise BadCheckpoint(f"The checkpoint contains a {kind}, not a state dict.")
    for key in _WEIGHT_KEYS:
        inner = loaded.get(key)
        if isinstance(inner, dict) and (found := _only_tensors(inner)):
            return found, key
    if found := _only_tensors(loaded):
        return found, "state dict"
    keys = ", ".join(repr(key)[:100] if isinstance(key, str | int) else "..." for key in list(loaded)[:8])
    raise BadCheckpoint(f"The checkpoint contains no state dict. Its keys: {keys or 'none'}")


def _only_tensors(candidate: dict[Any, Any]) -> dict[str, Tensor]:
    """The tensors of a state dict; empty if the candidate has values other than tensors, numbers and strings."""
    if not all(
        isinstance(value, Tensor | Unsupported | int | float | bool | str | None) for value in candidate.values()
    ):
        return {}
    for name, value in candidate.items():
        if isinstance(value, Unsupported):
            raise BadCheckpoint(
                f"Tensor {str(name)[:100]!r} is sparse, quantized or complex, or has an unsupported element type."
            )
    return {name: value for name, value in candidate.items() if isinstance(name, str) and isinstance(value, Tensor)}


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
    """Writes safetensors. Reads each storage once: tensors are in the order of their storages."""
    ordered = sorted(tensors.items(), key=lambda item: item[1].storage.key)
    header, position = {}, 0
    for name, tensor in ordered:
        span = [position, position + tensor.bytes]
        header[name] = {"dtype": tensor.kind, "shape": list(tensor.shape), "data_offsets": span}
        position = span[1]
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    key, content = None, b""
    with target.open("wb") as out:
        out.write(struct.pack("<Q", len(encoded)) + encoded)
        for name, tensor in ordered:
            if tensor.storage.key != key:
                key, content = tensor.storage.key, b""
                content = read(tensor.storage)
            out.write(_elements(name, tensor, content))


def _elements(name: str, tensor: Tensor, content: bytes) -> bytes | memoryview:
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
