"""Rows of logits in one memory-mapped file, and which blocks of them are there."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttm_core.teacher_store.codecs import Codec

_SYNC_BYTES = 64 * 2**20


class LogitsFile:
    """Records of logits by row; a block of rows counts as present only once it is durable.

    Rows are written first and synced, and only then the byte that tells them present; so after a crash at any context a
    block is either there or not. Several processes may write the same block: by the store's key they write the same
    bytes. Space is taken by what is written, not by what could be.
    """

    def __init__(self, folder: Path, codec: Codec, *, rows: int, blocks: int) -> None:
        self._codec = codec
        folder.mkdir(parents=True, exist_ok=True)
        self._data = _sized(folder / "rows", rows * codec.dtype.itemsize)
        self._marks = _sized(folder / "present", blocks)
        self._map = np.memmap(folder / "rows", codec.dtype, "r", shape=(rows,))
        self._present = np.memmap(folder / "present", np.uint8, "r", shape=(blocks,))
        self._pending: list[int] = []
        self._pending_bytes = 0

    @property
    def row_bytes(self) -> int:
        return self._codec.dtype.itemsize

    def missing(self, blocks: NDArray[np.int64]) -> list[int]:
        """Those of the blocks that nobody has written yet."""
        absent: list[int] = blocks[self._present[blocks] == 0].tolist()
        pending = set(self._pending)
        return [block for block in absent if block not in pending]

    def write(self, block: int, first_row: int, logits: NDArray[np.float32]) -> None:
        """Keep a block's rows, [its rows, classes]; present for others after the next sync."""
        content = self._codec.encode(logits).tobytes()
        offset, written = first_row * self._codec.dtype.itemsize, 0
        while written < len(content):
            written += os.pwrite(self._data, content[written:], offset + written)
        self._pending.append(block)
        self._pending_bytes += len(content)
        if self._pending_bytes >= _SYNC_BYTES:
            self.sync()

    def sync(self) -> None:
        """Make what was written durable, then say that it is there."""
        if not self._pending:
            return
        os.fdatasync(self._data)
        for block in self._pending:
            os.pwrite(self._marks, b"\1", block)
        os.fdatasync(self._marks)
        self._pending.clear()
        self._pending_bytes = 0

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[B, classes] of rows whose blocks are present or were just written."""
        return self._codec.decode(self._map[rows])

    def close(self) -> None:
        self.sync()
        os.close(self._data)
        os.close(self._marks)


def _sized(path: Path, size: int) -> int:
    """A descriptor of a file of at least this size, sparse where nothing was written."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if os.fstat(descriptor).st_size < size:
        os.ftruncate(descriptor, size)
    return descriptor
