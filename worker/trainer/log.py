"""A size-bounded log file that keeps the newest output of a process."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_CHUNK = 64 * 1024


class LogFile:
    """Writes to `path` and rotates to `path.1` at half of `max_bytes`. Both files together hold the newest output."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._older = path.with_name(path.name + ".1")
        self._half = max_bytes // 2

    def copy(self, source: BinaryIO) -> None:
        """Copies a pipe until it is closed. Keeps reading when the disk is full, so that the writer does not block."""
        with source:
            while chunk := source.read1(min(_CHUNK, self._half)):  # type: ignore[attr-defined]
                try:
                    self._append(chunk)
                except OSError:
                    continue

    @property
    def size(self) -> int:
        """The size of the retained output in bytes."""
        return sum(path.stat().st_size for path in (self._older, self._path) if path.exists())

    def read(self) -> Iterator[bytes]:
        """Yields the retained output, oldest first."""
        for path in (self._older, self._path):
            if path.exists():
                yield path.read_bytes()

    def _append(self, chunk: bytes) -> None:
        if self._path.exists() and self._path.stat().st_size + len(chunk) > self._half:
            self._path.replace(self._older)
        with self._path.open("ab") as file:
            file.write(chunk)
