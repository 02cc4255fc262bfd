"""Every value and gradient of `losses.npz`, which the paper's official code computed in float64."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ttm_core.losses import kd, kl_divergence, power_sum, ttm, wttm

VECTORS = dict(np.load(Path(__file__).parents[2] / "data" / "reference" / "losses.npz"))
INPUTS = ("student_logits", "teacher_logits", "labels", "gammas", "beta")
EXPECTED = [key for key in VECTORS if not key.endswith(INPUTS)]
NAME = re.compile(
    r"(?P<case>.+)__(?:(?P<loss>ce|kd|ttm|wttm)(?:_g(?P<gamma>[\d.]+))?__(?P<what>loss|grad|total)"
    r"|(?P<vector>U|D)_g(?P<power>[\d.]+))"
)
LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "kd": lambda z, v, gamma: kd(z, v, temperature=1 / gamma),
    "ttm": lambda z, v, gamma: ttm(z, v, gamma=gamma),
    "wttm": lambda z, v, gamma: wttm(z, v, gamma=gamma),
}


@pytest.mark.parametrize("key", EXPECTED)
def test_equals_the_official_code(key: str) -> None:
    name = NAME.fullmatch(key)
    assert name is not None, f"{key} is of a kind that is not tested"
    case = name["case"]
    z, v, labels = (torch.from_numpy(VECTORS[f"{case}__{field}"]) for field in INPUTS[:3])
    z.requires_grad_()
    if name["vector"] == "U":
        found = power_sum(v, gamma=float(name["power"]))
    elif name["vector"] == "D":
        found = kl_divergence((float(name["power"]) * v).log_softmax(1), z.log_softmax(1)).detach()
    else:
        cross_entropy = F.cross_entropy(z, labels)
        loss = cross_entropy if name["loss"] == "ce" else LOSSES[name["loss"]](z, v, float(name["gamma"]))
        if name["what"] == "total":
            loss = cross_entropy + VECTORS[f"{case}__beta"].item() * loss
        found = torch.autograd.grad(loss, z)[0] if name["what"] == "grad" else loss.detach()

    # Relative to the array: elements far below its largest are differences of near-equal numbers.
    expected = torch.from_numpy(VECTORS[key])
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_reference_vectors_are_complete() -> None:
    cases = ("C_7x10", "D_5x4_extreme", "E_1x2")
    assert len(EXPECTED) == sum(2 + 10 * len(VECTORS[f"{case}__gammas"]) for case in cases)
