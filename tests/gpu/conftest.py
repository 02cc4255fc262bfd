"""Marks every test of this folder `gpu`; `make gpu` runs them. The code also runs on a CPU, with tests skipped that need
CUDA.
"""

from pathlib import Path

import pytest
import torch

from tests.ttm_core.conftest import digits_idx, teacher_file
from ttm_core.training.devices import choose_device

__all__ = ["digits_idx", "teacher_file"]

_FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _FOLDER in item.path.parents:
            item.add_marker("gpu")


@pytest.fixture(scope="session")
def device() -> torch.device:
    return choose_device()


@pytest.fixture
def cuda(device: torch.device) -> torch.device:
    if device.type != "cuda":
        pytest.skip("needs CUDA")
    return device
