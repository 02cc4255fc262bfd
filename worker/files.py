"""Files of a work directory."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from ttm_jobs.errors import ChecksumMismatch


def inside(directory: Path, relative: str) -> Path:
    """The path of a file that the trainer named; ValueError if it is, or leads, outside of the directory.

    The trainer has read strangers' files, so its word is not taken for it.
    """
    path = (directory / relative).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise ValueError(f"{relative!r} is not inside of the work directory")
    return path


def write_whole(path: Path, chunks: Iterable[bytes], sha256: str) -> None:
    """Writes a file that appears under its name only when it is whole; ChecksumMismatch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".partial-{uuid4().hex}")
    digest = hashlib.sha256()
    try:
        with temporary.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
        if digest.hexdigest() != sha256:
            raise ChecksumMismatch(f"{path.name} is damaged in storage: its SHA-256 is not the one on record.")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Removes a directory and all in it, if it is there."""
    shutil.rmtree(path, ignore_errors=True)


def is_full_disk(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
