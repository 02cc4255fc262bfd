"""Addresses of uploads in progress, in files: after its process ended, a later one continues the upload."""

import errno
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ttm_client.references import is_id

try:
    import fcntl
except ImportError:  # Windows, where two uploads of one file at the same time would not be detected
    fcntl = None  # type: ignore[assignment]

_PATH = "/uploads/"
_MAX_AGE_SECONDS = 30 * 86400.0


class UnfinishedUpload:
    """The upload that an earlier process did not complete, and that of this process. Stores nothing without a file."""

    def __init__(self, file: Path | None = None, descriptor: int | None = None) -> None:
        self._file = file
        self._descriptor = descriptor

    @property
    def href(self) -> str | None:
        """The path of the upload on the service; None if there is none."""
        if self._descriptor is None:
            return None
        text = os.pread(self._descriptor, 200, 0).decode("ascii", "replace")
        return text if text.startswith(_PATH) and is_id(text.removeprefix(_PATH)) else None

    def keep(self, href: str) -> None:
        """Stores the path of an upload."""
        if self._descriptor is not None:
            with suppress(OSError):  # a full disk
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, href.encode(), 0)

    def forget(self) -> None:
        """Deletes what is stored: the upload is complete or useless."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


@contextmanager
def unfinished_upload(base_url: str, *, sha256: str, size: int) -> Iterator[UnfinishedUpload]:
    """Yields the unfinished upload of a file to a service. Nothing is stored while another upload of the same file is
    in progress, and where the folder of the cache cannot be written.
    """
    try:
        file = _folder() / hashlib.sha256(f"{base_url}\n{sha256}\n{size}".encode()).hexdigest()
        descriptor = _locked(file)
    except (OSError, RuntimeError):
        yield UnfinishedUpload()
        return
    try:
        yield UnfinishedUpload(file, descriptor)
    finally:
        if not os.fstat(descriptor).st_size:
            file.unlink(missing_ok=True)
        os.close(descriptor)


def _folder() -> Path:
    """The folder of the files. Raises RuntimeError for a user without a home."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "ttm" / "uploads"


def _locked(file: Path) -> int:
    """Opens and locks a file. Deletes files that are so old that their uploads have expired. Raises OSError."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for other in file.parent.iterdir():
        with suppress(FileNotFoundError):
            if other.stat().st_mtime < time.time() - _MAX_AGE_SECONDS:
                other.unlink()
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
