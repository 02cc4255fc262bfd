from pathlib import Path

import pytest
import torch

from tests.ttm_core import factories
from ttm_core.pipeline.distill import distill


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits_idx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factories.digits_idx(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher trained by the engine itself on more digits than its students see."""
    workdir = tmp_path_factory.mktemp("teacher")
    data = factories.digits_idx(tmp_path_factory.mktemp("all-digits"), train=1500)
    training = {"epochs": 8, "augmentation": "none"}
    distill(factories.spec(data, student="mini/resnet8_050", training=training), workdir)
    return workdir / "out" / "student.safetensors"
