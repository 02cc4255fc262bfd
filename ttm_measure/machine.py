"""The machine that measures: its CPU, its usable cores, and the memory of this process."""

import ctypes
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_BOARD = Path("/proc/device-tree/model")
_CPUINFO = Path("/proc/cpuinfo")
_CPUS = Path("/sys/devices/system/cpu")
_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"
_CPU_SAMPLE_SECONDS = 0.1


def cpu_model() -> str:
    """The name of the board where the firmware gives one (Raspberry Pi), else of the CPU."""
    with suppress(OSError):
        return _BOARD.read_text().strip("\0 \n")
    with suppress(OSError):
        for line in _CPUINFO.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> list[int]:
    """The logical CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(cores: Sequence[int], threads: int) -> bool:
    """Pins this process to as many of `cores` as threads, fast and idle physical cores first.

    Returns:
        Whether the process is pinned; False where the system cannot pin or has too few cores. It may then use all
        cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, cores)
    if len(cores) < threads:
        return False
    busy = psutil.cpu_percent(_CPU_SAMPLE_SECONDS, percpu=True)
    ranked = sorted(
        cores,
        key=lambda core: (-_capacity(core), _rank_among_siblings(core), busy[core] if core < len(busy) else 0.0),
    )
    os.sched_setaffinity(0, ranked[:threads])
    return True


def _capacity(core: int) -> int:
    """Relative speed of a core on machines with large and small ones (Arm); elsewhere 0."""
    with suppress(OSError, ValueError):
        return int((_CPUS / f"cpu{core}" / "cpu_capacity").read_text())
    return 0


def _rank_among_siblings(core: int) -> int:
    """0 for the first hardware thread of a physical core, 1 for the second."""
    with suppress(OSError, ValueError):
        siblings = (_CPUS / f"cpu{core}" / "topology" / "thread_siblings_list").read_text().strip()
        first = int(siblings.replace("-", ",").split(",")[0])
        return int(core != first)
    return 0


class PeakMemory:
    """The resident memory that a block of code adds to this process at its peak.

    Resets the peak first where that is allowed (a sandbox may forbid it). Elsewhere a peak below an earlier one is not
    visible, and the resident memory at the end counts instead.
    """

    def __init__(self) -> None:
        with suppress(OSError, AttributeError):  # not glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        with suppress(OSError):
            _CLEAR_REFS.write_text(_RESET_PEAK)
        self._before, self._earlier_peak = _status_bytes("VmRSS"), _status_bytes("VmHWM")

    def added_bytes(self) -> int | None:
        """The added memory in bytes since the start; None on systems other than Linux."""
        peak, now = _status_bytes("VmHWM"), _status_bytes("VmRSS")
        if self._before is None or self._earlier_peak is None or peak is None or now is None:
            return None
        return max(0, (peak if peak > self._earlier_peak else now) - self._before)


def _status_bytes(key: str) -> int | None:
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == key:
                return int(value.split()[0]) * 1024
    return None
