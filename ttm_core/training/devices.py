"""The device that a run trains on, and process-wide settings for reproducible and fast training."""

import ctypes
import os
import sys

import torch

from ttm_core.errors import BadSpec, DeviceUnavailable

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def choose_device(number: int = 0, *, needs_gpu: bool = False) -> torch.device:
    """The visible CUDA device of this number, or the CPU without CUDA.

    Raises:
        BadSpec: there are too few GPUs.
        DeviceUnavailable: there is none that torch can use, although the run needs one.
    """
    if not torch.cuda.is_available():
        if needs_gpu:
            check_gpus()
        return torch.device("cpu")
    if number >= (found := torch.cuda.device_count()):
        raise BadSpec(f"training.devices asks for more GPUs than this machine has ({found})")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def check_gpus() -> list[str]:
    """Computes on each visible GPU. Returns their names.

    Raises:
        DeviceUnavailable: there is no GPU, the driver is too old for this build of torch, or this build has no kernels
            for the GPU.
    """
    try:
        torch.cuda.init()
        names = []
        for number in range(torch.cuda.device_count()):
            ones = torch.ones(8, 8, device=torch.device("cuda", number))
            (ones @ ones).sum().item()  # waits for the kernels
            names.append(torch.cuda.get_device_name(number))
        return names
    # A build of torch without CUDA raises AssertionError.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DeviceUnavailable(f"torch cannot compute on the worker's GPUs: {reason}.") from error


def usable_threads() -> int:
    """The number of CPU threads that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_up(device: torch.device, threads: int, *, tf32: bool = True, reproducible: bool = True) -> None:
    """Fixes the number of threads and selects kernels.

    Args:
        device: of the run.
        threads: CPU threads.
        tf32: allows TF32 on GPUs.
        reproducible: selects deterministic kernels; otherwise cuDNN chooses kernels by timing.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(reproducible, warn_only=True)
    # Filling every new tensor with NaN detects reads of uninitialized memory. It changes no result and takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.deterministic = reproducible
        torch.backends.cudnn.benchmark = not reproducible


def seed_generators(device: torch.device, seed: int) -> None:
    """Seeds the random numbers of operations on the CPU and on the device, as `torch.manual_seed` does.

    On a machine without a GPU, `torch.manual_seed` formats a stack trace for each kind of GPU, which takes as long as
    many an operation of a small model.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def keep_freed_memory() -> None:
    """Makes glibc reuse large freed blocks; otherwise it returns them to the system and faults them in at each step."""
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return  # not glibc
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 256 * 2**20)
