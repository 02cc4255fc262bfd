"""Locks on names in a folder, between processes."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

_POLL_SECONDS = 0.1


class FileLock:
    """A lock on what bears a name in a folder, shared by readers or owned by one. It lasts until it is closed, or its
    process ends.

    Args:
        root: the folder; the lock's file lies in `.locks` there.
        name: without slashes.
    """

    def __init__(self, root: Path, name: str) -> None:
        # Beside what it is for, not in it: a lock on a file that is being removed would hold nobody.
        locks = root / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(locks / name, os.O_RDWR | os.O_CREAT, 0o644)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def share(self, while_waiting: Callable[[], None] = lambda: None) -> None:
        """BlockedReasons until nobody owns it. `while_waiting` is called now and then, and may raise to give up."""
        self._wait(fcntl.LOCK_SH, while_waiting)

    def own(self, while_waiting: Callable[[], None] = lambda: None) -> None:
        """BlockedReasons until nobody else has it. What was shared is let go of meanwhile."""
        self._wait(fcntl.LOCK_EX, while_waiting)

    def try_own(self) -> bool:
        """Whether nobody else has it, and so it is owned now. If not, what was shared is let go of."""
        return self._take(fcntl.LOCK_EX)

    def _wait(self, kind: int, while_waiting: Callable[[], None]) -> None:
        while not self._take(kind):
            while_waiting()
            time.sleep(_POLL_SECONDS)

    def _take(self, kind: int) -> bool:
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
