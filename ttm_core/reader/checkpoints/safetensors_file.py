"""Checks the header of a safetensors file."""

import json
import math
import struct
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from ttm_core.errors import BadCheckpoint

_MAX_HEADER_BYTES = 25 * 2**20
_MAX_TENSORS = 100_000
_MAX_NAME = 1024
_MAX_DIMENSIONS = 16
# The types that PyTorch can convert to float32 or that are counters.
_ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip


def check(source: Path) -> list[str]:
    """Checks the header as `read_header` does. Returns the prefixes of names as for a file with one state dict."""
    read_header(source)
    return [""]


def read_numbers(source: Path, names: Container[str]) -> Iterator[tuple[str, str, bytes]]:
    """Yields the name, element type and bytes of these tensors. Raises BadCheckpoint as `read_header` does."""
    header, _ = read_header(source)
    with source.open("rb") as stream:
        start = 8 + struct.unpack("<Q", stream.read(8))[0]
        for name, entry in header.items():
            if name in names:
                first, end = entry["data_offsets"]
                stream.seek(start + first)
                yield name, entry["dtype"], stream.read(end - first)


def read_header(source: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The descriptions of the tensors by name, and the metadata.

    Raises BadCheckpoint unless the header describes exactly the bytes of the file, with supported element types.
    """
    with source.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0]
        data_bytes = source.stat().st_size - 8 - length
        if data_bytes < 0:
            raise BadCheckpoint("The safetensors file cannot be read: it is truncated inside its header.")
        if length > _MAX_HEADER_BYTES:
            raise BadCheckpoint(f"The header of the safetensors file has more than {_MAX_HEADER_BYTES:,} bytes.")
        raw = stream.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"The header of the safetensors file is not valid JSON: {str(error)[:200]}") from error
    if not isinstance(header, dict):
        raise BadCheckpoint("The header of the safetensors file is not a JSON object.")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BadCheckpoint("The metadata of the safetensors file is not an object of strings.")
    if len(header) > _MAX_TENSORS:
        raise BadCheckpoint(f"The safetensors file has more than {_MAX_TENSORS:,} tensors.")
    end = 0
    for start, stop in sorted(_span(name, entry) for name, entry in header.items()):
        if start != end:
            raise BadCheckpoint("The safetensors file has tensors that overlap or leave a gap.")
        end = stop
    if end != data_bytes:
        raise BadCheckpoint(f"The safetensors file has {data_bytes:,} bytes of tensors; its header describes {end:,}.")
    return header, metadata


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _span(name: str, entry: Any) -> tuple[int, int]:
    if len(name) > _MAX_NAME:
        raise BadCheckpoint(f"The safetensors file has a tensor name of more than {_MAX_NAME:,} characters.")
    match entry:
        case {"dtype": str() as kind, "shape": list() as shape, "data_offsets": [int() as start, int() as stop]}:
            pass
        case _:
            raise BadCheckpoint(f"Tensor {name!r} has no valid description in the header of the safetensors file.")
    if kind not in _ITEM_BYTES:
        raise BadCheckpoint(
            f"Tensor {name!r} has the element type {kind[:20]!r}; supported are {', '.join(_ITEM_BYTES)}. "
            "Convert it to float32."
        )
    if len(shape) > _MAX_DIMENSIONS:
        raise BadCheckpoint(f"Tensor {name!r} has {len(shape)} dimensions; at most {_MAX_DIMENSIONS} are supported.")
    # PyTorch computes strides also of tensors without elements.
    if not all(type(side) is int and side >= 0 for side in shape) or math.prod(max(side, 1) for side in shape) >= 2**63:
        raise BadCheckpoint(f"Tensor {name!r} has an invalid shape.")
    if not 0 <= start <= stop or math.prod(shape) * _ITEM_BYTES[kind] != stop - start:
        raise BadCheckpoint(f"Tensor {name!r} has a shape that does not fit its bytes in the file.")
    return start, stop
