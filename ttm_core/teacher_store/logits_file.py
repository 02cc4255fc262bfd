"""A memory-mapped file of logit rows, and a file of the blocks that are present."""

import logging
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttm_core.teacher_store.codecs import Codec

_SYNC_BYTES = 64 * 2**20

log = logging.getLogger("ttm_core")


class LogitsFile:
    """Records of logits by row. A block of rows is present only when it is durable.

    Rows are written and synced before the byte that marks their block as present, so a block is complete after a crash
    or absent. Processes may write the same block concurrently, because equal keys give equal bytes. The file is sparse.

    Blocks beyond the end of a truncated or missing file of rows become absent again. The file is extended by zeros,
    which would be read as logits.

    Args:
        folder: of the store.
        codec: of a row.
        ends: int64 [blocks] the row after the last one of each block, increasing.
    """

    def __init__(self, folder: Path, codec: Codec, *, ends: NDArray[np.int64]) -> None:
        self._codec = codec
        folder.mkdir(parents=True, exist_ok=True)
        rows, blocks = int(ends[-1]), len(ends)
        self._marks = _sized(folder / "present", blocks)
        self._present = np.memmap(folder / "present", np.uint8, "r", shape=(blocks,))
        # Before the size of the file, which other processes extend before they mark a block.
        marked = self._present.nonzero()[0]
        self._data = os.open(folder / "rows", os.O_RDWR | os.O_CREAT, 0o644)
        lost = marked[ends[marked] * codec.dtype.itemsize > os.fstat(self._data).st_size]
        if len(lost):
            log.warning(
                "teacher store %s: %d blocks are beyond the end of its file and count as missing", folder, len(lost)
            )
            for block in lost.tolist():
                os.pwrite(self._marks, b"\0", block)
            os.fdatasync(self._marks)
        _extend(self._data, rows * codec.dtype.itemsize)
        self._map = np.memmap(folder / "rows", codec.dtype, "r", shape=(rows,))
        self._pending: list[int] = []
        self._pending_bytes = 0

    @property
    def row_bytes(self) -> int:
        return self._codec.dtype.itemsize

    def missing(self, blocks: NDArray[np.int64]) -> list[int]:
        """The blocks that have not been written yet."""
        absent: list[int] = blocks[self._present[blocks] == 0].tolist()
        pending = set(self._pending)
        return [block for block in absent if block not in pending]

    def write(self, block: int, first_row: int, logits: NDArray[np.float32]) -> None:
        """Writes the rows of a block, [rows, classes]. Other processes see it after the next sync."""
        content = self._codec.encode(logits).tobytes()
        offset, written = first_row * self._codec.dtype.itemsize, 0
        while written < len(content):
            written += os.pwrite(self._data, content[written:], offset + written)
        self._pending.append(block)
        self._pending_bytes += len(content)
        if self._pending_bytes >= _SYNC_BYTES:
            self.sync()

    def sync(self) -> None:
        """Makes written blocks durable, then marks them as present."""
        if not self._pending:
            return
        os.fdatasync(self._data)
        for block in self._pending:
            os.pwrite(self._marks, b"\1", block)
        os.fdatasync(self._marks)
        self._pending.clear()
        self._pending_bytes = 0

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Reads rows of present or just written blocks: [B, classes]."""
        return self._codec.decode(self._map[rows])

    def close(self) -> None:
        self.sync()
        os.close(self._data)
        os.close(self._marks)


def _sized(path: Path, size: int) -> int:
    """Opens a sparse file of at least this size. Returns its descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    _extend(descriptor, size)
    return descriptor


def _extend(descriptor: int, size: int) -> None:
    if os.fstat(descriptor).st_size < size:
        os.ftruncate(descriptor, size)
