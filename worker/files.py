"""Files in work directories."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from ttm_jobs.errors import ChecksumMismatch


def inside(directory: Path, relative: str) -> Path:
    """Resolves a path that the trainer reported. Raises ValueError if it is outside the directory.

    The trainer parses untrusted files, so its paths are not trusted.
    """
    path = (directory / relative).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise ValueError(f"{relative!r} is outside the work directory")
    return path


def write_atomically(path: Path, chunks: Iterable[bytes], sha256: str) -> None:
    """Writes a file atomically. Raises ChecksumMismatch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".partial-{uuid4().hex}")
    digest = hashlib.sha256()
    try:
        with temporary.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
        if digest.hexdigest() != sha256:
            raise ChecksumMismatch(
                f"{path.name} is corrupted in the storage: its SHA-256 differs from the recorded one."
            )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Removes a directory recursively, if it exists."""
    shutil.rmtree(path, ignore_errors=True)


def is_full_disk(error: OSError) -> bool:
    """Whether the disk is full, a quota is used up, or a file exceeds the limit on file sizes."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
