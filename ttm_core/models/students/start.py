"""Creates the student of a run with its initial weights."""

from collections.abc import Callable

import torch
from torch import nn

from ttm_core.data.random import seed as derived_seed
from ttm_core.errors import BadSpec
from ttm_core.models.build import build
from ttm_core.models.preprocess import TORCH_FORMATS
from ttm_core.spec.structure import ModelStructure
from ttm_core.spec.training.training import MemoryFormat

_INIT_SEED = 301  # random stream of the initial weights


def start_student(
    structure: ModelStructure,
    initialize: Callable[[nn.Module], object] | None = None,
    *,
    seed: int,
    device: torch.device,
    memory_format: MemoryFormat = "channels_last",
) -> nn.Module:
    """Creates the student with random weights drawn from `seed`, which `initialize` may replace.

    Raises:
        BadSpec: the structure has a drop path rate, which the architecture does not support.

    Errors of `initialize` pass through.
    """
    torch.manual_seed(derived_seed(_INIT_SEED, seed))
    model = build_student(structure)
    if initialize is not None:
        initialize(model)
    return model.to(device).to(memory_format=TORCH_FORMATS[memory_format])


def build_student(structure: ModelStructure) -> nn.Module:
    """Creates a student with random weights.

    Raises:
        BadSpec: the structure has a drop path rate, which the architecture does not support.
    """
    try:
        return build(structure)
    except TypeError as error:
        if not structure.options:
            raise
        raise BadSpec(
            f"student.drop_path: {structure.architecture} does not support stochastic depth. Remove the field."
        ) from error
