"""File locks and claims between processes."""

import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

POLL_SECONDS = 0.1
_LONGEST_NOTE = 4096


class _LockFile:
    """An open lock file of an entry of a folder. Closing it, or the end of the process, releases its locks."""

    def __init__(self, root: Path, name: str) -> None:
        # Outside the entry: a lock on a file that another process deletes would protect nothing.
        locks = root / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(locks / name, os.O_RDWR | os.O_CREAT, 0o644)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


class FileLock(_LockFile):
    """A shared or exclusive lock on an entry of a folder. It is released when closed or when its process ends.

    Args:
        root: the folder; the lock file is stored in its `.locks` folder.
        name: the entry's name, without slashes.
    """

    def acquire_shared(self, while_waiting: Callable[[], None] = lambda: None) -> None:
        """Blocks until no process holds the lock exclusively. `while_waiting` runs at each poll and may raise."""
        self._wait(fcntl.LOCK_SH, while_waiting)

    def acquire_exclusive(self) -> None:
        """Blocks until no other process holds the lock. A shared lock of this object is released meanwhile."""
        self._wait(fcntl.LOCK_EX, lambda: None)

    def try_acquire_exclusive(self) -> bool:
        """Acquires the exclusive lock without waiting and returns whether it did. If not, a shared lock is released."""
        return self._take(fcntl.LOCK_EX)

    def read_note(self) -> bytes:
        """What `write_note` wrote last; empty before."""
        return os.pread(self._descriptor, _LONGEST_NOTE, 0)

    def write_note(self, note: bytes) -> None:
        """Stores up to 4096 bytes in the lock file. Requires the exclusive lock."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, note, 0)

    def _wait(self, kind: int, while_waiting: Callable[[], None]) -> None:
        while not self._take(kind):
            while_waiting()
            time.sleep(POLL_SECONDS)

    def _take(self, kind: int) -> bool:
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class Claims(_LockFile):
    """Claims of this process on numbered parts of an entry, which no other process can claim at the same time.

    They are released together, or when the process ends. POSIX record locks: a claim costs no file, and closing any
    descriptor of the file in this process releases them too, so claims may avoid work but must not protect data.

    Args:
        root: the folder; the lock file is stored in its `.locks` folder.
        name: the entry's name, without slashes.
    """

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root, f"{name}.claims")

    def try_claim(self, number: int) -> bool:
        """Claims a part and returns True, unless another process has claimed it."""
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True

    def release(self) -> None:
        """Releases all claims."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
