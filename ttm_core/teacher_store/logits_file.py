"""Rows of float16 in one memory-mapped file, and which blocks of them are there."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SYNC_BYTES = 64 * 2**20


class LogitsFile:
    """float16 [views, rows, classes] in blocks of rows; a block counts as present only once it is durable.

    Rows are written first and synced, and only then the byte that tells them present; so after a crash at any moment a
    block is either there or not. Several processes may write the same block: by the store's key they write the same
    bytes. Space is taken by what is written, not by what could be.
    """

    def __init__(self, folder: Path, *, views: int, rows: int, classes: int, block: int) -> None:
        self.views, self.rows, self.classes, self.block = views, rows, classes, block
        self.blocks = -(-rows // block)
        folder.mkdir(parents=True, exist_ok=True)
        self._data = _sized(folder / "logits.f16", views * rows * classes * 2)
        self._marks = _sized(folder / "present.u8", views * self.blocks)
        self._map = np.memmap(folder / "logits.f16", np.float16, "r", shape=(views, rows, classes))
        self._present = np.memmap(folder / "present.u8", np.uint8, "r", shape=(views, self.blocks))
        self._pending: dict[tuple[int, int], NDArray[np.float16]] = {}
        self._pending_bytes = 0

    def missing(self, view: int) -> list[int]:
        """Blocks of a view that nobody has written yet."""
        absent = np.flatnonzero(self._present[view] == 0).tolist()
        return [block for block in absent if (view, block) not in self._pending]

    def write(self, view: int, block: int, logits: NDArray[np.float16]) -> None:
        """Keep a block's logits, [its rows, classes]; present for others after the next sync."""
        start, stop = self._span(block)
        if logits.shape != (stop - start, self.classes):
            raise ValueError(f"block {block} has shape {(stop - start, self.classes)}, not {logits.shape}")
        offset = ((view * self.rows) + start) * self.classes * 2
        content = logits.tobytes()
        written = 0
        while written < len(content):
            written += os.pwrite(self._data, content[written:], offset + written)
        self._pending[view, block] = logits
        self._pending_bytes += len(content)
        if self._pending_bytes >= _SYNC_BYTES:
            self.sync()

    def sync(self) -> None:
        """Make what was written durable, then say that it is there."""
        if not self._pending:
            return
        os.fdatasync(self._data)
        for view, block in self._pending:
            os.pwrite(self._marks, b"\1", view * self.blocks + block)
        os.fdatasync(self._marks)
        self._pending.clear()
        self._pending_bytes = 0

    def read(self, view: int, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """[B, classes] of rows whose blocks are present or were just written."""
        return self._map[view, rows]

    def close(self) -> None:
        self.sync()
        os.close(self._data)
        os.close(self._marks)

    def _span(self, block: int) -> tuple[int, int]:
        return block * self.block, min((block + 1) * self.block, self.rows)


def _sized(path: Path, size: int) -> int:
    """A descriptor of a file of at least this size, sparse where nothing was written."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if os.fstat(descriptor).st_size < size:
        os.ftruncate(descriptor, size)
    return descriptor
