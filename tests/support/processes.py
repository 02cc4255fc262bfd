"""Reads process information from /proc."""

import os
from pathlib import Path


def group_of(pgid: int) -> list[int]:
    """The process ids of the running members of a process group."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pgid and fields[0] not in "ZX":
            members.append(int(stat.parent.name))
    return members


def children_of(pid: int) -> list[int]:
    """The process ids of the children of all threads of a process."""
    return [
        int(child)
        for children in Path(f"/proc/{pid}/task").glob("*/children")
        for child in children.read_text().split()
    ]


def servers_of(worker: int) -> list[int]:
    """The process ids of a worker's fork server, which leads a process group."""
    return [pid for pid in children_of(worker) if os.getpgid(pid) == pid]


def trainers_of(worker: int) -> list[int]:
    """The process ids of a worker's trainers, which lead process groups: they are forked from its fork server."""
    return [pid for server in servers_of(worker) for pid in children_of(server) if os.getpgid(pid) == pid]


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
