"""Reads the names and shapes of a checkpoint's tensors without its numbers."""

import json
import math
from pathlib import Path

from ttm_core.checkpoints.inspect import find_candidates
from ttm_core.checkpoints.kinds import kind_of
from ttm_core.checkpoints.schema import Inspection
from ttm_core.checkpoints.signatures import Shape
from ttm_core.errors import BadCheckpoint, UserError
from ttm_core.reader.checkpoints.onnx_file import describe
from ttm_core.reader.checkpoints.safetensors_file import read_header
from ttm_core.reader.pickles import torch_file
from ttm_core.spec.job import KeyMap
from ttm_core.spec.structure import METADATA_KEY, ModelStructure, structure_of


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
                layout = "safetensors"
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


def _safetensors(source: Path) -> tuple[dict[str, Shape], ModelStructure | None]:
    """The shapes of the tensors, and the structure in the metadata of a student.

    Raises:
        BadCheckpoint: the file is damaged, or the structure is invalid.
    """
    header, metadata = read_header(source)
    shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
    try:
        document = json.loads(metadata.get(METADATA_KEY, "{}"))
        structure = structure_of(document) if isinstance(document, dict) else None
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"The structure in the metadata of the file is invalid: {str(error)[:300]}") from error
    return shapes, structure
