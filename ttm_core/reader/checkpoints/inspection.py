"""Describes a checkpoint by the names and shapes of its tensors."""

import json
import math
from pathlib import Path

from ttm_core.checkpoints.inspect import find_candidates
from ttm_core.checkpoints.kinds import Kind, kind_of
from ttm_core.checkpoints.models_in import Model, choose_model, layout_of
from ttm_core.checkpoints.schema import Candidate, Inspection, InspectionRequest
from ttm_core.checkpoints.signatures import Shape, read_signatures
from ttm_core.errors import BadCheckpoint, UserError
from ttm_core.reader.checkpoints.numbers import check_numbers
from ttm_core.reader.checkpoints.onnx_file import describe
from ttm_core.reader.checkpoints.safetensors_file import read_header
from ttm_core.reader.pickles import torch_file
from ttm_core.spec.structure import METADATA_KEY, ModelStructure, structure_of

_LONGEST_KEY = 300


def inspect(source: Path, request: InspectionRequest, *, numbers: bool = True) -> Inspection:
    """What a file is, and which architectures it fits. A file that cannot be used is described, not an error.

    With `numbers`, the elements of the tensors are read as well, and must be finite.
    """
    kind = kind_of(source)
    try:
        match kind:
            case "safetensors":
                roots = [""]
                shapes, structure = _safetensors(source)
            case "torch":
                shapes, roots = torch_file.read_shapes(source)
                structure = None
            case "onnx":
                graph = describe(source, run=False)
                return Inspection(kind=kind, problem=None, layout="onnx", parameters=graph.parameters, onnx=graph)
            case "archive":
                problem = "The file is an archive, not a checkpoint."
                return Inspection(kind=kind, problem=torch_file.problem_of_others(source) or problem)
            case _:
                problem = "The file is not a checkpoint of PyTorch, safetensors or ONNX."
                return Inspection(kind=kind, problem=torch_file.problem_of_others(source) or problem)
        named = structure.architecture if structure is not None else None
        pruned = structure is not None and bool(structure.pruning)
        found, model = _of_tensors(kind, shapes, roots, request, named, pruned=pruned)
        if numbers and model is not None:
            check_numbers(source, kind, model.names)
        return found
    except UserError as error:
        return Inspection(kind=kind, problem=error.message)


def _of_tensors(
    kind: Kind,
    shapes: dict[str, Shape],
    roots: list[str],
    request: InspectionRequest,
    named: str | None,
    *,
    pruned: bool,
) -> tuple[Inspection, Model | None]:
    """Describes a file by its tensors. Returns also the model that is described. Raises BadSpec."""
    # The shapes of a pruned model are those of no architecture.
    signatures = [] if pruned else read_signatures()
    architecture = request.architecture or named

    def compared(base: str | None) -> tuple[list[Model], dict[str, Shape], list[Candidate]]:
        """The models, those that fit this architecture first, and the shapes and the candidates of the first one."""
        signature = next((each for each in signatures if each.architecture == base), None)
        models = choose_model(shapes, roots, key=request.checkpoint_key, signature=signature, key_map=request.key_map)
        chosen = {name: shapes[full] for name, full in models[0].names.items()} if models else {}
        candidates = find_candidates(chosen, architecture, request.key_map, signatures) if signatures else []
        return models, chosen, candidates

    models, chosen, candidates = compared(architecture and _base(architecture))
    if architecture is None and candidates and not candidates[0].loads:
        # A part of the model, such as its backbone, may fit.
        models, chosen, candidates = compared(_base(candidates[0].architecture))
    found = Inspection(
        kind=kind,
        problem=None,
        layout=layout_of(kind, models),
        tensors=len(chosen),
        parameters=sum(math.prod(shape) for shape in chosen.values()),
        architecture=named,
        pruned=pruned,
        checkpoint_keys=[model.key[:_LONGEST_KEY] for model in models if model.key] if len(models) > 1 else [],
        candidates=candidates,
    )
    return found, models[0] if models else None


def _base(architecture: str) -> str:
    """An architecture without the tag of its weights."""
    return architecture.partition(".")[0]


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
