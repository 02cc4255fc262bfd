"""What a trainer's processes hold of the machine's memory."""

import os
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

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
