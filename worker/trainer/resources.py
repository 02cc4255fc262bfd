"""What a trainer's processes hold of the machine's memory."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from worker.trainer import devices
from worker.trainer.devices import Load

_VMSTAT = Path("/proc/vmstat")


def held_by_group(pgid: int) -> int:
    """Bytes that the processes of a group hold for themselves.

    Mapped files are left out: the system takes their pages back when it needs them, and a teacher store of many
    gigabytes may well be mapped. So is a GPU's memory.
    """
    held = 0
    for process in psutil.process_iter():
        # Any may end while we look, and those of others cannot be read.
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == pgid:
                held += held_by(process)
    return held


def held_by(process: psutil.Process) -> int:
    """Bytes that one process holds for itself. psutil.Error if it has ended."""
    memory = process.memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def oom_kills() -> int | None:
    """How often this machine's kernel has killed for want of memory since it started; None where it does not say."""
    with suppress(OSError):
        for line in _VMSTAT.read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return None


# A look goes through all processes of the machine.
_SECONDS_BETWEEN_LOOKS = 2.0


class Usage:
    """Of one process group: `system/memory_bytes`, without mapped files, and `system/cpus`, how many processors it kept
    busy since the look before. Where there are GPUs, of these together and all that runs on them:
    `system/gpu_memory_bytes`, and `system/gpus`, how many were kept busy.
    """

    def __init__(self, gpus: Callable[[], Sequence[Load]] = devices.loads) -> None:
        self._gpus = gpus
        self._looked = time.monotonic()
        self._seconds = 0.0

    def look(self, pgid: int) -> dict[str, float]:
        """The numbers; none where the last look was a moment ago."""
        now = time.monotonic()
        if (passed := now - self._looked) < _SECONDS_BETWEEN_LOOKS:
            return {}
        seconds = _cpu_seconds(pgid)
        # A child that has ended takes its time away with it.
        busy = max(seconds - self._seconds, 0.0) / passed
        self._looked, self._seconds = now, seconds
        held = float(held_by_group(pgid))
        return {"system/memory_bytes": held, "system/cpus": round(busy, 3), **_of_gpus(self._gpus())}


def _of_gpus(loads: Sequence[Load]) -> dict[str, float]:
    if not loads:
        return {}
    busy = [load.busy for load in loads if load.busy is not None]
    told = {"system/gpu_memory_bytes": float(sum(load.used_bytes for load in loads))}
    return told | ({"system/gpus": round(sum(busy), 3)} if busy else {})


def _cpu_seconds(pgid: int) -> float:
    taken = 0.0
    for process in psutil.process_iter():
        # Any may end while we look, and those of others cannot be read.
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == pgid:
                times = process.cpu_times()
                taken += times.user + times.system
    return taken
