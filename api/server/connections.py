"""Limits on the connections of the API process: in total, per address, and in time."""

import resource
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

# File descriptors of the database pool, the storage, the logs and the event loop.
_RESERVED_FILES = 96
_MAX_CONNECTIONS = 10_000


@dataclass(frozen=True)
class Limits:
    """`total` and `per_address` are connections. A client has `header_seconds` to send the headers of a request, and
    must read a response that waits in the send buffer within `write_seconds`.
    """

    total: int
    per_address: int
    header_seconds: float = 15.0
    write_seconds: float = 60.0


def limits_of_process() -> Limits:
    """Raises the limit of open files to its maximum and returns the connections that it permits. One address gets half
    of them.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = hard if hard != resource.RLIM_INFINITY else max(soft, 2 * _MAX_CONNECTIONS)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    except (OSError, ValueError):  # macOS has a lower limit than it reports
        files = soft
    total = min(max(files - _RESERVED_FILES, 16), _MAX_CONNECTIONS)
    return Limits(total, total // 2)


class Connection(Protocol):
    """A connection of the server."""

    @property
    def address(self) -> str:
        """The IP address of the peer."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether no request is being processed."""
        ...

    def abort(self) -> None:
        """Closes the connection immediately."""
        ...


class Connections:
    """The open connections, oldest first. A new one over a limit replaces the oldest idle one."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._open: dict[Connection, None] = {}

    def add(self, connection: Connection) -> None:
        """Registers a new connection. Closes another one, or this one if none is idle, when a limit is exceeded."""
        self._open[connection] = None
        mine = [other for other in self._open if other.address == connection.address]
        if len(mine) > self.limits.per_address:
            self._close_one(mine)
        elif len(self._open) > self.limits.total:
            self._close_one(self._open)

    def discard(self, connection: Connection) -> None:
        """Removes a closed connection."""
        self._open.pop(connection, None)

    def _close_one(self, candidates: Iterable[Connection]) -> None:
        # The newest connection is idle, too: it is closed if all others have a request.
        closed = next(other for other in candidates if other.is_idle)
        self.discard(closed)
        closed.abort()
