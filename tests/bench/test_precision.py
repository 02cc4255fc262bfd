"""The benchmark of precisions runs a model in every way."""

import pytest
import torch

from bench.precision import WAYS, measure


@pytest.mark.parametrize("train", [True, False])
def test_every_way_is_timed(train: bool) -> None:
    seconds = measure("cifar/MobileNetV2", 8, 2, torch.device("cpu"), train=train, repeats=1)
    assert set(seconds) == set(WAYS)
    assert min(seconds.values()) > 0
