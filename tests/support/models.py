"""Models by name, for tests that need no other part of a structure."""

from typing import Any

from torch import nn

from ttm_core.models import build
from ttm_core.spec.structure import ModelStructure


def create_model(architecture: str, **fields: Any) -> nn.Module:
    """A freshly initialized model; `fields` are those of `ModelStructure`."""
    return build(ModelStructure(architecture=architecture, **fields))
