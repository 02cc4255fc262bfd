"""A teacher file with random weights, for benchmarks in which its predictions do not matter."""

from pathlib import Path

from ttm_core.models.build import build
from ttm_core.models.weights import write_safetensors
from ttm_core.spec.structure import ModelStructure


def write_teacher(path: Path, architecture: str, classes: int) -> None:
    """Writes the weights with the structure that the engine reads from a file."""
    structure = ModelStructure(architecture=architecture, num_classes=classes)
    metadata = {"format": 2, "structure": structure.model_dump(mode="json")}
    write_safetensors(path, build(structure).state_dict(), metadata)
