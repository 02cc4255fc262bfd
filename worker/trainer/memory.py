"""The default memory limit of a trainer: a share of the memory of the worker's container or machine."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from ttm_jobs.settings import Settings

_CGROUPS, _MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# For the worker, the page cache and the rest of the machine.
_RESERVE_BYTES, _RESERVE_SHARE = 2**30, 0.1


def trainer_limit(settings: Settings) -> int:
    """The memory limit of one trainer in bytes: the setting, else an equal share of the available memory."""
    if settings.trainer_memory_bytes is not None:
        return settings.trainer_memory_bytes
    return share(available(), settings.workers_per_machine)


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
