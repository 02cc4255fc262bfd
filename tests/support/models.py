"""Models by name, for tests that need no other part of a structure."""

from pathlib import Path
from typing import Any

from torch import nn

from ttm_core.export.student import save_student
from ttm_core.models import build
from ttm_core.spec.job import DistillSpec, Normalization
from ttm_core.spec.structure import ModelStructure


def create_model(architecture: str, **fields: Any) -> nn.Module:
    """A freshly initialized model; `fields` are those of `ModelStructure`."""
    return build(ModelStructure(architecture=architecture, **fields))


def save_untrained(path: Path, architecture: str) -> DistillSpec:
    """Writes an untrained student for images of 32 pixels and two classes, cat and dog. Returns its spec."""
    spec = DistillSpec.model_validate({"student": architecture, "dataset": "file:///data/pets", "method": "ce"})
    structure = ModelStructure(architecture=architecture, num_classes=2, image_size=32)
    save_student(
        path,
        build(structure).state_dict(),
        structure=structure,
        spec=spec,
        normalization=Normalization(mean=[0.4] * 3, std=[0.3] * 3),
        class_names=["cat", "dog"],
        metrics={},
    )
    return spec
