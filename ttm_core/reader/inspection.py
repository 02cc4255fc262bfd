"""Reads the names and shapes of a checkpoint's tensors without its numbers."""

import json
import math
import struct
from pathlib import Path
from typing import Any

from ttm_core.checkpoints.inspect import find_candidates
from ttm_core.checkpoints.schema import Inspection
from ttm_core.checkpoints.signatures import Shape
from ttm_core.errors import BadCheckpoint, UserError
from ttm_core.reader import safetensors_file
from ttm_core.reader.onnx_file import describe
from ttm_core.reader.pickles import torch_file
from ttm_core.spec.job import KeyMap
from ttm_core.spec.structure import ModelStructure, structure_of

_METADATA_KEY = "ttm"


def inspect(source: Path, architecture: str | None = None, key_map: KeyMap | None = None) -> Inspection:
    """What a file is, and which architectures it fits. A file that cannot be used is described, not an error.

    Args:
        source: the file.
        architecture: the first candidate, if given.
        key_map: renames for this candidate.
    """
    kind = kind_of(source)
    try:
        match kind:
            case "safetensors":
                layout = safetensors_file.check(source)
                shapes, structure = _safetensors(source)
            case "torch":
                shapes, layout = torch_file.read_shapes(source)
                structure = None
            case "onnx":
                found = describe(source, run=False)
                return Inspection(kind=kind, problem=None, layout="onnx", parameters=found.parameters, onnx=found)
            case "archive":
                return Inspection(kind=kind, problem="The file is an archive, not a checkpoint.")
            case _:
                return Inspection(kind=kind, problem="The file is not a checkpoint of PyTorch, safetensors or ONNX.")
        named = structure.architecture if structure is not None else None
        pruned = structure is not None and bool(structure.pruning)
        # The shapes of a pruned model are those of no architecture.
        candidates = [] if pruned else find_candidates(shapes, architecture or named, key_map)
    except UserError as error:
        return Inspection(kind=kind, problem=error.message)
    return Inspection(
        kind=kind,
        problem=None,
        layout=layout,
        tensors=len(shapes),
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        architecture=named,
        pruned=pruned,
        candidates=candidates,
    )


def kind_of(source: Path) -> Any:
    """The kind of a file from its first bytes."""
    with source.open("rb") as stream:
        head = stream.read(512)
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= source.stat().st_size:
        return "safetensors"
    if head.startswith(b"PK\3\4"):
        # torch.save stores its pickle first.
        return "torch" if b"/data.pkl" in head[:300] or b"/version" in head[:300] else "archive"
    if head.startswith(b"\x80"):
        return "torch"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) or head[257:262] == b"ustar":
        return "archive"
    # An ONNX model starts with its version, field 1 of the message, as a small number.
    return "onnx" if len(head) > 2 and head[0] == 8 and head[1] < 32 else "unknown"


def _safetensors(source: Path) -> tuple[dict[str, Shape], ModelStructure | None]:
    """The shapes of the tensors, and the structure in the metadata of a student.

    Raises:
        BadCheckpoint: the structure is invalid.
    """
    with source.open("rb") as stream:
        header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    metadata = header.pop("__metadata__", {})
    shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
    try:
        document = json.loads(metadata.get(_METADATA_KEY, "{}"))
        structure = structure_of(document) if isinstance(document, dict) else None
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"The structure in the metadata of the file is invalid: {str(error)[:300]}") from error
    return shapes, structure
