"""The 22 CIFAR models against the reference implementations: state dicts of all, logits of nine."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.models import create_model
from ttm_core.models import CIFAR

REFERENCE = Path(__file__).parents[2] / "data" / "reference"
MODELS = json.loads((REFERENCE / "cifar_models.json").read_text())
LOGITS = dict(np.load(REFERENCE / "cifar_logits.npz"))


def filled(name: str, shape: torch.Size) -> Tensor:
    """The reference's weights for one state-dict key."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        values = np.zeros(shape)
    elif name.endswith("running_var"):
        values = 1 + 0.1 * random.random_sample(shape)
    elif len(shape) == 1 and name.endswith("weight"):
        values = 0.5 + 0.1 * random.standard_normal(shape)
    elif len(shape) == 1:
        values = 0.05 * random.standard_normal(shape)
    else:
        values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def test_every_model_has_a_reference() -> None:
    assert set(CIFAR) == set(MODELS)


@pytest.mark.parametrize("name", CIFAR)
def test_state_dict(name: str) -> None:
    with torch.device("meta"):
        model = create_model(f"cifar/{name}", num_classes=100)
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == MODELS[name]["state_dict"]
    assert sum(parameter.numel() for parameter in model.parameters()) == MODELS[name]["parameters"]


@pytest.mark.parametrize("name", LOGITS)
def test_logits(name: str) -> None:
    model = create_model(f"cifar/{name}", num_classes=100).eval()
    model.load_state_dict({key: filled(key, value.shape) for key, value in model.state_dict().items()})
    images = torch.from_numpy(np.random.RandomState(7).standard_normal((2, 3, 32, 32)).astype(np.float32))
    with torch.no_grad():
        found = model(images)
    expected = torch.from_numpy(LOGITS[name])
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
