"""CPU time of the process tree and elapsed time. Other load on the machine affects CPU time much less."""

import resource
import time
from types import TracebackType
from typing import Self

import torch

from ttm_core.hardware.timing import synchronize


def _cpu_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


class Clock:
    """Times a block, until a GPU has finished it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __enter__(self) -> Self:
        synchronize(self._device)
        self._cpu, self._wall = _cpu_seconds(), time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        synchronize(self._device)
        self.cpu_seconds, self.seconds = _cpu_seconds() - self._cpu, time.perf_counter() - self._wall

    def summary(self, images: int) -> dict[str, float]:
        """The block's times for this number of images."""
        return {"images": images, "cpu_seconds": self.cpu_seconds, "seconds": self.seconds}
