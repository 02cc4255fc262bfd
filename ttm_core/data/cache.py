"""Folders made once from what they are named after, shared by processes, the least recently used removed first."""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from ttm_core.file_lock import FileLock


class DataCache:
    """Keeps each folder it hands out from being removed until it is closed, or its process ends.

    Args:
        root: the cache's folder; any number of processes may use it at once.
        max_bytes: what it is kept within, but for folders that are held; None for no bound.
    """

    def __init__(self, root: Path, max_bytes: int | None = None) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of every folder that was handed out."""
        self._held.close()

    def folder(self, name: str, make: Callable[[Path], None], while_waiting: Callable[[], None] = lambda: None) -> Path:
        """The folder of a name, which stands for its content; where it is not there, `make` fills an empty one, which
        appears under the name only once whole. Whatever `make` raises is raised, and leaves nothing.

        Of several processes that ask at once one makes it and the others wait; each of them calls `while_waiting` now
        and then, which may raise to give up.
        """
        folder = self._root / name
        with ExitStack() as held:
            lock = held.enter_context(FileLock(self._root, name))
            while True:
                lock.share(while_waiting)
                if folder.is_dir():
                    os.utime(folder)
                    self._held.push(held.pop_all().__exit__)
                    return folder
                # Not held between the two locks, so that what is seen under one must be looked at again under the next.
                lock.own(while_waiting)
                if not folder.is_dir():
                    self._make(folder, make)
                    self.make_room()

    def make_room(self, bytes_: int = 0) -> None:
        """Removes the least recently used folders that no process holds until the rest and `bytes_` fit."""
        if self._max_bytes is None or not self._root.is_dir():
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
            if total <= self._max_bytes:
                break
            if self._remove(name):
                total -= size

    def _make(self, folder: Path, make: Callable[[Path], None]) -> None:
        # Under the exclusive lock nobody else makes it: what lies there was left by a process that died.
        partial = self._root / f".{folder.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            make(partial)
            os.sync()  # after a power cut the name must not stand for empty files; once costs less than for each file
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _remove(self, name: str) -> bool:
        with FileLock(self._root, name) as lock:
            if not lock.try_own():
                return False
            doomed = self._root / f".{name}.removed"
            try:
                (self._root / name).rename(doomed)
            except FileNotFoundError:
                return False
            shutil.rmtree(doomed, ignore_errors=True)
            return True

    def _sweep(self, entry: Path) -> None:
        """Removes what a process that died left half made or half removed."""
        name, _, kind = entry.name.removeprefix(".").rpartition(".")
        if kind in ("partial", "removed"):
            with FileLock(self._root, name) as lock:
                if lock.try_own():
                    shutil.rmtree(entry, ignore_errors=True)


def _bytes_under(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
