"""The data and the teacher of a quick run."""

from pathlib import Path

import torch

from bench.results import settings
from bench.results.experiments.experiment import Setting
from cli.demo import data
from ttm_core.models import build
from ttm_core.models.weights import write_safetensors
from ttm_core.spec.structure import ModelStructure


def setting(folder: Path) -> Setting:
    """Digits in `folder`, and a teacher with random weights: the accuracies mean nothing."""
    torch.manual_seed(0)
    model = build(ModelStructure(architecture="mini/resnet8_100", num_classes=10, in_chans=1, image_size=8))
    write_safetensors(folder / "teacher.safetensors", model.state_dict(), {})
    return settings.digits(data.digits(folder).folder, folder / "teacher.safetensors")
