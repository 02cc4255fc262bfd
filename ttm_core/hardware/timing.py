"""Compares the speed of several ways to compute the same thing, on a machine that other processes may use."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

_T = TypeVar("_T")


def least_seconds(
    ways: Mapping[_T, Callable[[], object]], device: torch.device, *, repeats: int, warm_up: int = 1
) -> dict[_T, float]:
    """The least seconds of each call: CPU time of this process on a CPU, else elapsed time.

    Calls alternate, so that changes of the machine's load affect all ways alike.

    Args:
        ways: what to call, by name.
        device: that the calls compute on.
        repeats: timed calls of each way.
        warm_up: calls of each way before, which allocate memory and select kernels.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    for _ in range(warm_up):
        for call in ways.values():
            call()
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(repeats):
        for name, call in ways.items():
            synchronize(device)
            started = clock()
            call()
            synchronize(device)
            least[name] = min(least[name], clock() - started)
    return least


def synchronize(device: torch.device) -> None:
    """Waits until a GPU has finished; does nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
