"""A memory-mapped file of logit rows, and a file of the blocks that are present."""

import logging
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttm_core.teacher_store.codecs import Codec
from ttm_core.teacher_store.listing import MARK_BYTES

_SYNC_BYTES = 64 * 2**20
_MARK = np.dtype(f"<u{MARK_BYTES}")

log = logging.getLogger("ttm_core")


class LogitsFile:
    """Records of logits by row. A block of rows is present only when it is durable.

    Rows are written and synced before the mark of their block, so a block is complete after a crash or absent. The mark
    is a checksum of the rows, 0 for an absent block. Processes may write the same block concurrently, because equal
    keys give equal bytes. The file is sparse.

    Args:
        folder: of the store.
        codec: of a row.
        ends: int64 [blocks] the row after the last one of each block, increasing.
    """

    def __init__(self, folder: Path, codec: Codec, *, ends: NDArray[np.int64]) -> None:
        self._codec = codec
        self._ends = ends
        folder.mkdir(parents=True, exist_ok=True)
        rows, blocks = int(ends[-1]), len(ends)
        self._data = _sized(folder / "rows", rows * codec.dtype.itemsize)
        self._marks = _sized(folder / "present", blocks * _MARK.itemsize)
        self._map = np.memmap(folder / "rows", codec.dtype, "r", shape=(rows,))
        self._present = np.memmap(folder / "present", _MARK, "r", shape=(blocks,))
        self._folder = folder
        self._intact: set[int] = set()
        self._pending: dict[int, int] = {}
        self._pending_bytes = 0

    @property
    def row_bytes(self) -> int:
        return self._codec.dtype.itemsize

    def missing(self, blocks: NDArray[np.int64]) -> list[int]:
        """The blocks that have not been written yet."""
        absent: list[int] = blocks[self._present[blocks] == 0].tolist()
        return [block for block in absent if block not in self._pending]

    def drop_damaged(self, blocks: NDArray[np.int64]) -> None:
        """Removes the marks of blocks with another checksum, as in a damaged or truncated file, so that they
        are missing. Reads each block once.
        """
        marked = blocks[self._present[blocks] != 0].tolist()
        unread = [block for block in marked if block not in self._intact and block not in self._pending]
        damaged = [block for block in unread if self._checksum_of(block) != self._present[block]]
        self._intact.update(set(unread) - set(damaged))
        if damaged:
            log.warning("teacher store %s: %d blocks are damaged and count as missing", self._folder, len(damaged))
            for block in damaged:
                self._mark(block, 0)
            os.fdatasync(self._marks)

    def write(self, block: int, first_row: int, logits: NDArray[np.float32]) -> None:
        """Writes the rows of a block, [rows, classes]. Other processes see it after the next sync."""
        content = self._codec.encode(logits).tobytes()
        offset, written = first_row * self._codec.dtype.itemsize, 0
        while written < len(content):
            written += os.pwrite(self._data, content[written:], offset + written)
        self._pending[block] = _checksum(content)
        self._pending_bytes += len(content)
        if self._pending_bytes >= _SYNC_BYTES:
            self.sync()

    def sync(self) -> None:
        """Makes written blocks durable, then marks them as present."""
        if not self._pending:
            return
        os.fdatasync(self._data)
        for block, checksum in self._pending.items():
            self._mark(block, checksum)
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

    def _checksum_of(self, block: int) -> int:
        start = self._ends[block - 1] if block else 0
        return _checksum(self._map[start : self._ends[block]].data)

    def _mark(self, block: int, value: int) -> None:
        os.pwrite(self._marks, value.to_bytes(_MARK.itemsize, "little"), block * _MARK.itemsize)


def _checksum(content: bytes | memoryview) -> int:
    """CRC-32; not 0, which marks an absent block."""
    return zlib.crc32(content) or 1


def _sized(path: Path, size: int) -> int:
    """Opens a sparse file of at least this size. Returns its descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if os.fstat(descriptor).st_size < size:
        os.ftruncate(descriptor, size)
    return descriptor
