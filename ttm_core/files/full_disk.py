"""Errors of a full disk that libraries do not report as such."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, a quota, and a limit on the size of files (`ulimit -f`, or of the file system)."""


@contextmanager
def full_disk_errors(needed: int, *folders: Path) -> Iterator[None]:
    """Raises OSError instead of any other error of a block that writes files, if `needed` bytes cannot be written to a
    folder: ENOSPC for a full disk, EDQUOT for a quota, EFBIG for a limit on the size of files.

    Libraries raise errors of their own if they cannot write, or write a part of a file and fail when they read it.

    Args:
        needed: bytes of all files that the block writes, also of those that it deletes.
        folders: where it writes.
    """
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        for folder in folders:
            try:
                _reserve(needed, folder)
            except OSError as full:
                if full.errno in NO_SPACE:
                    raise OSError(full.errno, os.strerror(full.errno), str(folder)) from error
        raise


def _reserve(size: int, folder: Path) -> None:
    """Reserves `size` bytes and frees them. Raises OSError if this is not possible."""
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    # Only a reservation meets quotas.
    if size > 0 and hasattr(os, "posix_fallocate"):
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Writes a `.npy` file. `numpy.save` raises an OSError without a number if the disk is full."""
    with path.open("wb") as file:
        np.save(_Stream(file.write), array)


class _Stream:
    """A stream that NumPy does not recognize as a file, so that it calls `write`."""

    def __init__(self, write: Callable[[Any], object]) -> None:
        self.write = write
