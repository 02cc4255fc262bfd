"""Which runs make DistributedDataParallel search for unused parameters."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.models import create_model
from tests.ttm_core import factories
from ttm_core.data.batches import Batch
from ttm_core.data.dataset import full_split
from ttm_core.data.images import ArrayImages
from ttm_core.methods.build import build_objective
from ttm_core.models.preprocess import Preprocess
from ttm_core.spec.normalization import Normalization
from ttm_core.training.distiller import Distiller, leaves_parameters_unused


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = create_model("mini/resnet8_025", num_classes=10, in_chans=1)
        self.second = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize(
    ("frozen", "expected"), [(False, True), (True, False)], ids=["second head", "frozen second head"]
)
def test_only_trainable_unused_parameters_need_a_search(digits_idx: Path, frozen: bool, expected: bool) -> None:
    model = TwoHeads()
    model.second.requires_grad_(not frozen)
    pixels = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    split = full_split(ArrayImages(pixels), torch.arange(4))
    preprocess = Preprocess(1, 8, Normalization(mean=[0.5], std=[0.5]))
    distiller = Distiller(
        student=model,
        preprocess=preprocess,
        objective=build_objective(
            factories.spec(digits_idx), student=model, preprocess=preprocess, teacher=None, split=split
        ),
        teachers=[],
        device=torch.device("cpu"),
        precision="float32",
        teacher_precision="float32",
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert leaves_parameters_unused(distiller, Batch(np.arange(4), 0, pixels, torch.arange(4))) is expected
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
