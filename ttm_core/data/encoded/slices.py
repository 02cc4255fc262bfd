"""Byte ranges of large files."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class Slices:
    """Byte ranges of large files, read on access.

    Args:
        files: they stay open as long as this object exists.
        ranges: int64 [N, 3]: file index, offset and length in bytes.
    """

    def __init__(self, files: Sequence[Path], ranges: NDArray[np.int64]) -> None:
        self.files = files
        self.ranges = ranges
        self._open = [path.open("rb", buffering=0) for path in files]

    def __len__(self) -> int:
        return len(self.ranges)

    def __getitem__(self, index: int, /) -> bytes:
        file, offset, length = (int(value) for value in self.ranges[index])
        # pread does not move the file position, so threads can share the descriptor.
        return os.pread(self._open[file].fileno(), length, offset)
