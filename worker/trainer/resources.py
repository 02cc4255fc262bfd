"""Memory, CPU and GPU usage of trainer processes, and the default limit of their memory."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from ttm_jobs.settings import Settings
from worker.trainer import devices
from worker.trainer.devices import Load

_VMSTAT = Path("/proc/vmstat")
_CGROUPS, _MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_EXPORT_BYTES, _MAX_EXPORTS = 2 * 2**30, 8
# For the worker, the page cache and the rest of the machine.
_RESERVE_BYTES, _RESERVE_SHARE = 2**30, 0.1


def trainer_limit(settings: Settings) -> int:
    """The memory limit of one trainer in bytes: the setting, else an equal share of the available memory."""
    if settings.trainer_memory_bytes is not None:
        return settings.trainer_memory_bytes
    return share(available(), settings.workers_per_machine)


def export_processes(settings: Settings) -> int:
    """The number of processes by which a trainer exports students: at most one per core of an equal share of them, and
    per 2 GiB of its memory, and at most 8, since the measurements that follow are made one after another.
    """
    cores = (os.cpu_count() or 1) // settings.workers_per_machine
    return max(1, min(cores, trainer_limit(settings) // _EXPORT_BYTES, _MAX_EXPORTS))


def share(total: int, workers: int) -> int:
    """An equal share of `total` bytes less a reserve of 10 %, but at most 1 GiB."""
    return int(total - min(_RESERVE_BYTES, _RESERVE_SHARE * total)) // workers


def available(cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """The memory of the machine, or the smallest limit of this process's control groups, in bytes."""
    return min([int(psutil.virtual_memory().total), *_group_limits(cgroups, membership)])


def _group_limits(cgroups: Path, membership: Path) -> Iterator[int]:
    """The limits of the groups of this process and of their parents, of version 2 or 1."""
    with suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers == "":
                root, name = cgroups, "memory.max"
            elif "memory" in controllers.split(","):
                root, name = cgroups / "memory", "memory.limit_in_bytes"
            else:
                continue
            folder = root / group.lstrip("/")
            # In a container, the path of the host may not exist; the root is then the container's group.
            for each in (folder, *folder.parents):
                if each.is_relative_to(root):
                    with suppress(OSError, ValueError):  # missing, or "max"
                        yield int((each / name).read_text())


def held_by_group(pgid: int) -> int:
    """Private memory of the processes of a group in bytes.

    Mapped files do not count: the kernel can evict their pages at any time, and a mapped teacher store can have many
    gigabytes. GPU memory does not count either.
    """
    return int(sum(_of_group(pgid, held_by)))


def held_by(process: psutil.Process) -> int:
    """Private memory of a process in bytes.

    Raises:
        psutil.Error: the process has ended.
    """
    memory = process.memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def oom_kills() -> int | None:
    """Number of OOM kills since the machine started; None if the kernel does not report it."""
    with suppress(OSError):
        for line in _VMSTAT.read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return None


# A sample iterates over all processes of the machine.
_MIN_INTERVAL_SECONDS = 2.0


class Usage:
    """Samples the resource usage of one process group.

    Metrics: `system/memory_bytes` (private memory) and `system/cpus` (CPU-seconds per second since the last sample).
    With GPUs also `system/gpu_memory_bytes` and `system/gpus` (sum of utilisations), of all processes on these GPUs.
    """

    def __init__(self, gpus: Callable[[], Sequence[Load]] = devices.loads) -> None:
        self._gpus = gpus
        self._sampled_at = time.monotonic()
        self._seconds = 0.0

    def sample(self, pgid: int) -> dict[str, float]:
        """Current values by metric name; empty if the last sample is too recent."""
        now = time.monotonic()
        if (passed := now - self._sampled_at) < _MIN_INTERVAL_SECONDS:
            return {}
        seconds = _cpu_seconds(pgid)
        # The CPU time of children that have ended is lost.
        busy = max(seconds - self._seconds, 0.0) / passed
        self._sampled_at, self._seconds = now, seconds
        held = float(held_by_group(pgid))
        return {"system/memory_bytes": held, "system/cpus": round(busy, 3), **_of_gpus(self._gpus())}


def _of_gpus(loads: Sequence[Load]) -> dict[str, float]:
    if not loads:
        return {}
    busy = [load.busy for load in loads if load.busy is not None]
    usage = {"system/gpu_memory_bytes": float(sum(load.used_bytes for load in loads))}
    return usage | ({"system/gpus": round(sum(busy), 3)} if busy else {})


def _cpu_seconds(pgid: int) -> float:
    return sum(_of_group(pgid, _cpu_seconds_of))


def _cpu_seconds_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _of_group(pgid: int, measure: Callable[[psutil.Process], float]) -> Iterator[float]:
    """The measure of each process of a group. Opens only these: the watchdog samples five times a second."""
    for pid in psutil.pids():
        # A process may end during the iteration, and processes of other users cannot be read.
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getpgid(pid) == pgid:
                yield measure(psutil.Process(pid))
