"""A plugin of pytest: its tests see one GPU, which is simulated. Needs a C++ compiler."""

import ctypes
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

from tests.simulated_gpu.tensors import GpuMode, SynchronizationMode

_GIB = 2**30
_UNAVAILABLE = {"compile": "nothing is compiled for a simulated GPU", "cuda_graphs": "a simulated GPU has no graphs"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for part, reason in _UNAVAILABLE.items():
            if part in item.name:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def _simulated_gpu() -> Iterator[None]:
    _install_device()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    with pytest.MonkeyPatch.context() as patch:
        _replace_functions(patch)
        with GpuMode(), torch.autograd.set_multithreading_enabled(False):
            yield


def _install_device() -> None:
    package = Path(torch.__file__).parent
    with TemporaryDirectory() as folder:
        library = Path(folder) / "device.so"
        source = Path(__file__).with_name("device.cpp")
        paths = (f"-I{package}/include", f"-L{package}/lib", "-lc10", "-ltorch_cpu")
        subprocess.run(["g++", "-std=c++20", "-shared", "-fPIC", source, *paths, "-o", library], check=True)
        ctypes.CDLL(str(library)).install()


def _replace_functions(patch: pytest.MonkeyPatch) -> None:
    """Replaces what PyTorch computes with the driver, or in C++ without the dispatcher."""
    values: dict[str, Any] = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "init": None,
        "_lazy_init": None,
        "is_initialized": False,
        "get_device_name": "simulated",
        "get_device_capability": (9, 0),
        "is_bf16_supported": True,
        "set_device": None,
        "synchronize": None,
        "memory_reserved": 0,
        "memory_allocated": 0,
        "max_memory_allocated": _GIB,
        "mem_get_info": (80 * _GIB, 80 * _GIB),
        "manual_seed_all": None,
    }
    for name, value in values.items():
        patch.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
    generator = torch.default_generator
    patch.setattr(torch.cuda, "get_rng_state", lambda *_: generator.get_state())
    patch.setattr(torch.cuda, "set_rng_state", lambda state, *_: generator.set_state(state))
    patch.setattr(torch.cuda, "set_sync_debug_mode", SynchronizationMode.set)
    patch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)
    patch.setattr(torch, "tensor", _tensor(torch.tensor))
    patch.setattr(threading.Thread, "run", _in_gpu_mode(threading.Thread.run))


def _tensor(original: Any) -> Any:
    def tensor(*arguments: Any, device: Any = None, **options: Any) -> torch.Tensor:
        made: torch.Tensor = original(*arguments, **options)
        return made if device is None else made.to(device)

    return tensor


def _in_gpu_mode(original: Any) -> Any:
    """The mode is that of a thread."""

    def run(thread: threading.Thread) -> None:
        with GpuMode(), torch.autograd.set_multithreading_enabled(False):
            original(thread)

    return run
