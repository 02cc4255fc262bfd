"""Errors of a full disk that libraries do not report as such."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@contextmanager
def full_disk_errors(needed: int, *folders: Path) -> Iterator[None]:
    """Raises OSError (ENOSPC) instead of any other error of a block that writes files, if a folder's disk has less than
    `needed` free bytes.

    Libraries raise errors of their own if the disk is full, or write a part of a file and fail when they read it.

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
            if shutil.disk_usage(folder).free < needed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Writes a `.npy` file. `numpy.save` raises an OSError without a number if the disk is full."""
    with path.open("wb") as file:
        np.save(_Stream(file.write), array)


class _Stream:
    """A stream that NumPy does not recognize as a file, so that it calls `write`."""

    def __init__(self, write: Callable[[Any], object]) -> None:
        self.write = write
