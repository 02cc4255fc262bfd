"""A cache of folders, shared by processes, that evicts the least recently used folders."""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from ttm_core.files.locks import POLL_SECONDS, FileLock

logger = logging.getLogger(__name__)

# File systems round times when they write them to the disk, some to two seconds.
_TIME_RESOLUTION_NS = 2 * 10**9
_CHANGED_POLLS = 50


class DataCache:
    """A cache of folders named after their content. Folders in use are not evicted until the cache is closed or its
    process ends.

    A folder with files that were deleted, truncated or changed since it was made, as by a job that cleans up `/tmp`, is
    made again. The names, sizes and times of files are compared, not their bytes.

    Args:
        root: the folder of the cache; several processes may use it at once.
        max_bytes: size limit, not counting folders in use; None for no limit.
    """

    def __init__(self, root: Path, max_bytes: int | None = None) -> None:
        self._root = root
        self.max_bytes = max_bytes
        self._held = ExitStack()
        # Folders that this object has checked or made, and holds.
        self._intact: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Releases every folder returned by `folder`."""
        self._intact.clear()
        self._held.close()

    def folder(self, name: str, make: Callable[[Path], None], while_waiting: Callable[[], None] = lambda: None) -> Path:
        """Returns the folder `name`, which must identify its content. `make` fills it if it does not exist.

        The folder appears only when it is complete. Exceptions of `make` are propagated and leave no folder. If several
        processes need the same folder, one makes it and the others wait; they call `while_waiting` at intervals, which
        may raise to stop waiting.
        """
        folder = self._root / name
        with ExitStack() as held:
            lock = held.enter_context(FileLock(self._root, name))
            while True:
                lock.acquire_shared(while_waiting)
                if folder.is_dir() and self._is_intact(folder, lock):
                    os.utime(folder)
                    self._held.push(held.pop_all().__exit__)
                    return folder
                # Not waited for: a process that needs the folder as well may make it, and keep its shared lock for as
                # long as its job runs.
                if not lock.try_acquire_exclusive():
                    # A changed folder is in use until the jobs end that have it, and checking it takes time.
                    for _ in range(_CHANGED_POLLS if folder.is_dir() else 1):
                        while_waiting()
                        time.sleep(POLL_SECONDS)
                # The lock is released between share and own, so another process may have made the folder meanwhile.
                elif not folder.is_dir() or not self._is_intact(folder, lock):
                    if folder.is_dir():
                        logger.warning("%s has changed on the disk since it was made; it is made again", folder)
                        self._discard(folder)
                    self._make(folder, make, lock)
                    self.make_room()

    def make_room(self, bytes_: int = 0) -> None:
        """Evicts the least recently used unlocked folders until the rest and `bytes_` more fit."""
        if self.max_bytes is None or not self._root.is_dir():
            return
        found = []
        for entry in self._root.iterdir():
            if entry.name.startswith("."):
                self._sweep(entry)
                continue
            try:
                found.append((entry.stat().st_mtime, _bytes_under(entry), entry.name))
            except FileNotFoundError:
                continue  # another process removed it meanwhile
        total = bytes_ + sum(size for _, size, _ in found)
        for _, size, name in sorted(found):
            if total <= self.max_bytes:
                break
            if self._remove(name):
                total -= size

    def _is_intact(self, folder: Path, lock: FileLock) -> bool:
        if folder.name not in self._intact and lock.read_note() != _fingerprint(folder):
            return False
        self._intact.add(folder.name)
        return True

    def _make(self, folder: Path, make: Callable[[Path], None], lock: FileLock) -> None:
        # Under the exclusive lock no other process makes it: an existing partial folder is left from a crash.
        partial = self._root / f".{folder.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            make(partial)
            lock.write_note(_fingerprint(partial))
            os.sync()  # before the rename, so that a power failure leaves no empty files; cheaper than a sync per file
            partial.rename(folder)
            self._intact.add(folder.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _remove(self, name: str) -> bool:
        with FileLock(self._root, name) as lock:
            if not lock.try_acquire_exclusive():
                return False
            try:
                self._discard(self._root / name)
            except FileNotFoundError:
                return False
            return True

    def _discard(self, folder: Path) -> None:
        removed = self._root / f".{folder.name}.removed"
        shutil.rmtree(removed, ignore_errors=True)
        folder.rename(removed)
        self._intact.discard(folder.name)
        shutil.rmtree(removed, ignore_errors=True)

    def _sweep(self, entry: Path) -> None:
        """Removes a partial or half-removed folder of a crashed process."""
        name, _, kind = entry.name.removeprefix(".").rpartition(".")
        if kind in ("partial", "removed"):
            with FileLock(self._root, name) as lock:
                if lock.try_acquire_exclusive():
                    shutil.rmtree(entry, ignore_errors=True)


def _fingerprint(folder: Path) -> bytes:
    """The hash of the names, sizes and times of all files under a folder. Takes half a second for 100,000 files."""
    digest = hashlib.sha256()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        digest.update(os.fsencode(f"{parent[len(str(folder)) :]}\0"))
        for name in sorted(names):
            try:
                found = os.lstat(f"{parent}/{name}")
            except FileNotFoundError:  # deleted just now
                continue
            digest.update(os.fsencode(f"{name}\0{found.st_size} {found.st_mtime_ns // _TIME_RESOLUTION_NS} "))
    return digest.hexdigest().encode()


def _bytes_under(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
