"""CPU time of the process tree and wall time. Other load on the machine affects CPU time much less."""

import resource
import time
from types import TracebackType
from typing import Self


def _cpu_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


class Clock:
    """Times a block."""

    def __enter__(self) -> Self:
        self._cpu, self._wall = _cpu_seconds(), time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cpu_seconds, self.seconds = _cpu_seconds() - self._cpu, time.perf_counter() - self._wall

    def summary(self, images: int) -> dict[str, float]:
        """The block's times for this number of images."""
        return {"images": images, "cpu_seconds": self.cpu_seconds, "seconds": self.seconds}
