"""Assigns views to rows of a store. Equal views of an image share a row."""

import numpy as np
from numpy.typing import NDArray

from ttm_core.data.views import Views

# The table of rows has 4 bytes per image and distinct view; above this size, equal views are not detected.
_TABLE_BYTES = 512 * 2**20


class Rows:
    """Numbers the distinct views of a split's images by the view number in which they first occur.

    If an augmentation has few distinct views (162 for CIFAR crops padded by 4 with flips), two view numbers often give
    an image the same pixels. Such views share a row, which is computed once. The numbering depends only on the views,
    so it is equal in all processes, and further views append rows.

    Rows are computed in blocks of consecutive images of one view number. The images in a batch affect the last bits of
    their logits, so the composition of blocks must not depend on the run.
    """

    def __init__(self, views: Views, block: int) -> None:
        self._views, self._block = views, block
        self.indices = np.sort(views.split.indices)
        self._rank = np.full(len(views.split.images), -1, np.int64)
        self._rank[self.indices] = np.arange(len(self.indices))
        distinct = views.distinct
        if distinct is not None and 4 * distinct * len(self.indices) > _TABLE_BYTES:
            distinct = None
        self._table = None if distinct is None else np.full((len(self.indices), distinct), -1, np.int32)
        self._first_row, self._first_block = [0], [0]  # of each numbered view, and of the next
        self._fresh: list[NDArray[np.int64]] = []  # per view number, the images with a new distinct view

    def number(self, views: int) -> None:
        """Numbers the rows of views 0 to `views` - 1."""
        for view in range(len(self._fresh), views):
            fresh = self.indices
            if self._table is not None:
                ranks = np.arange(len(self.indices))
                codes = self._views.codes(self.indices, view)
                new = self._table[ranks, codes] < 0
                self._table[ranks[new], codes[new]] = self._first_row[-1] + np.arange(int(new.sum()))
                fresh = self.indices[new]
            self._fresh.append(fresh)
            self._first_row.append(self._first_row[-1] + len(fresh))
            self._first_block.append(self._first_block[-1] - (-len(fresh) // self._block))

    @property
    def count(self) -> int:
        """The number of rows of all numbered views."""
        return self._first_row[-1]

    @property
    def blocks(self) -> int:
        """The number of blocks of all numbered views."""
        return self._first_block[-1]

    @property
    def ends(self) -> NDArray[np.int64]:
        """The row after the last one of each block: int64 [blocks]."""
        starts = zip(self._first_row, self._fresh, strict=False)
        ends = [
            np.minimum(np.arange(0, len(fresh), self._block) + self._block, len(fresh)) + row for row, fresh in starts
        ]
        return np.concatenate(ends)

    def rows_of(self, indices: NDArray[np.int64], view: int) -> NDArray[np.int64]:
        """The rows of images of the split in a numbered view: int64 [B]."""
        ranks = self._rank[indices]
        if self._table is None:
            return self._first_row[view] + ranks
        return self._table[ranks, self._views.codes(indices, view)].astype(np.int64)

    def blocks_of(self, view: int) -> NDArray[np.int64]:
        """The blocks that contain all rows of a view, including rows shared with earlier views."""
        rows = self.rows_of(self.indices, view)
        views = np.searchsorted(self._first_row, rows, side="right") - 1
        first_rows, first_blocks = np.asarray(self._first_row), np.asarray(self._first_block)
        return np.unique(first_blocks[views] + (rows - first_rows[views]) // self._block)

    def members(self, block: int) -> tuple[int, int, NDArray[np.int64]]:
        """The view number, first row and images (in row order) of a block."""
        view = int(np.searchsorted(self._first_block, block, side="right")) - 1
        start = (block - self._first_block[view]) * self._block
        return view, self._first_row[view] + start, self._fresh[view][start : start + self._block]
