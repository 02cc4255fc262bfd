"""Objects as files in a directory."""

import errno
import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from ttm_jobs.errors import ObjectNotFound, StorageFull
from ttm_jobs.storage.base import CHUNK, Label, Stored, check_key, chunks_of

_TEMPORARY = ".partial-"
# An empty file can be created on a full disk.
_CHECKED_BYTES = 64 << 10


class LocalStorage:
    """Keys are paths under `root`. Objects are synced to disk, then renamed to their final name."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def put(self, key: str, source: BinaryIO | Iterable[bytes], label: Label | None = None) -> Stored:
        path = self._path(key)
        with _storage_full_errors():
            descriptor, temporary = _temporary_file(path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    digest = hashlib.sha256()
                    size = 0
                    for chunk in chunks_of(source):
                        file.write(chunk)
                        digest.update(chunk)
                        size += len(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
            _sync_directory(path.parent)
        return Stored(size, digest.hexdigest())

    def open(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        try:
            file = self._path(key).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectNotFound(f"There is no object {key}.") from None
        return _range(file, start, end)

    def size(self, key: str) -> int:
        path = self._path(key)
        if not path.is_file():
            raise ObjectNotFound(f"There is no object {key}.")
        return path.stat().st_size

    def url(self, key: str) -> str | None:
        return None

    def delete(self, key: str) -> None:
        self._remove(self._path(key))

    def list(self, prefix: str = "") -> Iterator[str]:
        base = self._path(prefix) if prefix else self.root
        files = (path for path in _files(base) if not path.name.startswith(_TEMPORARY))
        yield from sorted(path.relative_to(self.root).as_posix() for path in files)

    def sweep(self, older_than: timedelta) -> int:
        before = time.time() - older_than.total_seconds()
        removed = 0
        for path in _files(self.root):
            with suppress(FileNotFoundError):  # its writer may just have finished
                if path.name.startswith(_TEMPORARY) and path.stat().st_mtime < before:
                    self._remove(path)
                    removed += 1
        return removed

    def check(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        check_space(self.root)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        # Also removes folders that became empty.
        for parent in path.parents:
            if parent == self.root:
                break
            try:
                parent.rmdir()
            except OSError:
                break

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)


def check_space(folder: Path) -> None:
    """Raises StorageFull if a file of 64 KiB cannot be written to the folder, and OSError for other reasons."""
    with _storage_full_errors(), tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_CHECKED_BYTES))
        file.flush()


def _temporary_file(folder: Path) -> tuple[int, str]:
    """Creates a temporary file in the object's folder: a rename is atomic only within one file system."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        # A concurrent delete may remove the folder in between.
        with suppress(FileNotFoundError):
            return tempfile.mkstemp(prefix=_TEMPORARY, dir=folder)


def _files(base: Path) -> Iterator[Path]:
    """All files under a folder. Concurrently deleted files may be missing."""
    for folder, _, names in os.walk(base):
        yield from (Path(folder, name) for name in names)


def _range(file: BinaryIO, start: int, end: int | None) -> Iterator[bytes]:
    with file:
        file.seek(start)
        left = None if end is None else end - start
        while left is None or left > 0:
            chunk = file.read(CHUNK if left is None else min(CHUNK, left))
            if not chunk:
                break
            if left is not None:
                left -= len(chunk)
            yield chunk


def _sync_directory(path: Path) -> None:
    # Without this, a power failure may undo the rename.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _storage_full_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFull(f"The storage is full: {error.strerror}.") from error
        raise
