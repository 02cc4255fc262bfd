"""The student as a run starts with it."""

from pathlib import Path

import torch
from torch import nn

from ttm_core.data.random import seed as derived_seed
from ttm_core.errors import BadSpec
from ttm_core.preprocess import Preprocess
from ttm_core.spec import StudentSpec
from ttm_core.students.create import create_model
from ttm_core.students.initialise import start_from
from ttm_core.workarounds import subsample_before_narrow_strided_pointwise

_INIT_SEED = 301  # the stream of the initial weights


def start_student(
    spec: StudentSpec,
    preprocess: Preprocess,
    weights: Path | None,
    *,
    num_classes: int,
    seed: int,
    device: torch.device,
) -> nn.Module:
    """A model of the spec's architecture, with `weights` where they are given and drawn from `seed` elsewhere.

    Raises:
        BadSpec: it has no paths to drop, and the spec asks for it.
        BadCheckpoint, ArchitectureMismatch: the weights are unsafe, damaged, or another model's.
    """
    torch.manual_seed(derived_seed(_INIT_SEED, seed))
    options = {} if spec.drop_path is None else {"drop_path_rate": spec.drop_path}
    try:
        model = create_model(
            spec.architecture,
            num_classes=num_classes,
            in_chans=preprocess.channels,
            image_size=preprocess.image_size,
            **options,
        )
    except TypeError as error:
        if not options:
            raise
        raise BadSpec(f"{spec.architecture} has no paths to drop: leave student.drop_path out") from error
    if weights is not None:
        start_from(model, weights, spec.architecture)
    if device.type == "cpu":
        subsample_before_narrow_strided_pointwise(model)
    return model.to(device).to(memory_format=torch.channels_last)
