"""Control groups (version 2) of trainers: the kernel enforces their memory limit.

A worker may create groups only inside a group that is delegated to it: a unit of systemd with `Delegate=`, or a
container with a writable control group file system. https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

ROOT, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_PREFIX = "ttm-trainer-"
# Groups with controllers for their children contain no processes, so those of a delegated group move here.
_PROCESSES = "ttm-processes"
_DELEGATED = ("user.delegate", "trusted.delegate")
_REMOVE_SECONDS = 5.0


class Unavailable(Exception):
    """This process may not create control groups. The message has the reason."""


@dataclass(frozen=True)
class Group:
    """The control group of one trainer."""

    path: Path

    def add(self, pid: int) -> None:
        """Move a process into the group. Its later children start there. Raises OSError."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def oom_killed(self) -> bool:
        """Whether the kernel killed a process for the limit of this group."""
        with suppress(OSError):
            for line in (self.path / "memory.events").read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count) > 0
        return False

    def remove(self) -> None:
        """Kill the processes of the group and remove it."""
        with suppress(OSError):
            (self.path / "cgroup.kill").write_text("1")
        expires = time.monotonic() + _REMOVE_SECONDS
        while True:
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError as error:  # killed processes need a moment to end
                if time.monotonic() > expires:
                    logger.warning("The control group %s could not be removed: %s", self.path, error)
                    return
                time.sleep(0.01)
            else:
                return


def path_of(membership: str) -> str | None:
    """The path of the version 2 group in the text of `/proc/self/cgroup`; None if there is none."""
    for line in membership.splitlines():
        hierarchy, controllers, path = line.split(":", 2)
        if (hierarchy, controllers) == ("0", ""):
            return path.removesuffix(" (deleted)")
    return None


def delegated(controller: str, root: Path = ROOT, membership: Path = MEMBERSHIP) -> Path:
    """The group in which this process may create groups with the controller.

    If this process is itself in the delegated group, all processes of that group move to a child group.

    Raises:
        Unavailable: no group is delegated, or it lacks the controller.
    """
    try:
        path = path_of(membership.read_text())
        root = root if (root / "cgroup.controllers").exists() else root / "unified"
        if path is None or not (root / "cgroup.controllers").exists():
            raise Unavailable("the system has no control groups of version 2")
        own = root / path.lstrip("/")
        if controller not in (own / "cgroup.controllers").read_text().split():
            raise Unavailable(f"the worker's control group has no {controller} controller")
        if own != root and _is_delegated(own.parent, root) and controller in _of_children(own.parent):
            return own.parent
        if not _is_delegated(own, root):
            raise Unavailable("no control group is delegated to the worker")
        if controller not in _of_children(own):
            _move_processes(own)
            (own / "cgroup.subtree_control").write_text(f"+{controller}")
    except OSError as error:
        raise Unavailable(f"{error.filename or root}: {error.strerror}") from error
    return own


def create(parent: Path, number: int, limits: Mapping[str, str]) -> Group:
    """Create the group of a trainer of this process. `limits`: values by file. Raises OSError."""
    group = Group(parent / f"{_PREFIX}{os.getpid()}-{number}")
    group.path.mkdir(exist_ok=True)
    try:
        for name, value in limits.items():
            (group.path / name).write_text(value)
    except OSError:
        group.remove()
        raise
    return group


def remove_stale(parent: Path) -> None:
    """Remove the groups of workers that have ended."""
    for path in parent.glob(f"{_PREFIX}*-*"):
        owner = path.name.removeprefix(_PREFIX).partition("-")[0]
        # Process ids are reused: a group of this process's id is from an earlier process at its start.
        if owner == str(os.getpid()) or not Path("/proc", owner).exists():
            Group(path).remove()


def _is_delegated(group: Path, root: Path) -> bool:
    if group == root:
        # The root of a container's namespace; that of the machine has no type.
        return (group / "cgroup.type").exists()
    for name in _DELEGATED:  # set by systemd
        with suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return True
    return False


def _of_children(group: Path) -> list[str]:
    return (group / "cgroup.subtree_control").read_text().split()


def _move_processes(group: Path) -> None:
    target = group / _PROCESSES
    target.mkdir(exist_ok=True)
    # A process may start another one meanwhile.
    while pids := (group / "cgroup.procs").read_text().split():
        for pid in pids:
            with suppress(ProcessLookupError):
                (target / "cgroup.procs").write_text(pid)
