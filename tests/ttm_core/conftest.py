from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.folders import common_folder
from tests.ttm_core import factories
from ttm_core.export import measure
from ttm_core.files.locks import FileLock
from ttm_core.pipeline.distill import distill
from ttm_core.study import screen


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _quick_measurements() -> Iterator[None]:
    """Tests compare no latencies of exported files, so that they need not be precise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "_SECONDS", 0.1)
        patch.setattr(screen, "_MEASURED_SECONDS", 0.1)
        yield


@pytest.fixture(scope="session")
def digits_idx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factories.digits_idx(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher trained by the engine itself on more digits than its students see."""
    folder = common_folder(tmp_path_factory, "teacher")
    path = folder / "student.safetensors"
    with FileLock(folder, "training") as lock:
        lock.acquire_exclusive()
        if not path.exists():
            data = factories.digits_idx(folder / "all-digits", train=1500)
            training = {"epochs": 8, "augmentation": "none"}
            distill(factories.spec(data, student="mini/resnet8_050", training=training), folder / "run")
            (folder / "run/out/student.safetensors").rename(path)
    return path


@pytest.fixture
def set_units(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets which bfloat16 units the CPU reports; the arithmetic works on every CPU."""

    def set_to(*units: str) -> None:
        capabilities = {**torch.cpu.get_capabilities(), "amx_bf16": False, "avx512_bf16": False}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities | dict.fromkeys(units, True))

    return set_to
