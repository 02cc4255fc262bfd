"""The partial file of a download, which one download at a time writes."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

try:
    import fcntl
except ImportError:  # Windows, where two downloads to the same path at the same time are not detected
    fcntl = None  # type: ignore[assignment]

# Bytes. File systems allow 255 for a name, encrypted ones 143; the rest of the name of a partial file needs 32.
_LONGEST_START = 100


def check_replaceable(path: Path) -> None:
    """Raises OSError for a folder, a device or a pipe, and a name that is too long. Replacing a folder would fail, but
    only after the download. Replacing /dev/null would succeed.
    """
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise FileExistsError(errno.EEXIST, "Exists and is not a regular file", str(path))


@contextmanager
def partial_file(path: Path, sha256: str) -> Iterator[Path]:
    """Yields the file that a download to `path` writes and then renames. It may hold the start of an earlier download.

    While another download writes this file, a new one is yielded, and deleted at the end. The caller may truncate,
    rename or delete the file, but must not create it again.
    """
    # The hash in the name prevents resuming from the partial file of another content. Two downloads of the same content
    # to long names may share the file.
    start = os.fsencode(path.name)[:_LONGEST_START].decode("utf-8", "ignore")
    name = f".{start}.{sha256[:16]}"
    part = path.with_name(f"{name}.part")
    if fcntl is None:
        part.touch()
        yield part
        return
    descriptor = _locked(part)
    if descriptor is not None:
        try:
            yield part
        finally:
            # An empty file has nothing to resume from.
            if _is_open(part, descriptor) and not os.fstat(descriptor).st_size:
                part.unlink()
            os.close(descriptor)
        return
    part = path.with_name(f"{name}.{uuid4().hex[:8]}.part")
    part.touch(exist_ok=False)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _locked(part: Path) -> int | None:
    """Opens and locks a file, which is created if necessary. None if another download has locked it."""
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The download that had locked it may have renamed or deleted it since.
            if _is_open(part, descriptor):
                return descriptor
        except OSError as error:
            if isinstance(error, BlockingIOError):
                os.close(descriptor)
                return None
            # Some network file systems have no locks.
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                return descriptor
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_open(path: Path, descriptor: int) -> bool:
    """Whether `path` is the open file, which has been neither renamed nor deleted."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
