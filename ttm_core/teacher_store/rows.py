"""Which row of a store holds a view: equal views of an image share one."""

import numpy as np
from numpy.typing import NDArray

from ttm_core.data.views import Views

# The table of rows is 4 bytes for each image and distinct view; beyond this, views are not looked at for equals.
_TABLE_BYTES = 512 * 2**20


class Rows:
    """Numbers the distinct views of a split's images, in the order in which view numbers first show them.

    Where an augmentation has few distinct views (a crop of CIFAR padded by 4, mirrored or not: 162), two view numbers
    often give an image the same pixels. Such a view is computed when its first number is, and read ever after. The
    numbering follows from the views alone, so every process finds the same, and more views only add rows at the end.

    Rows are computed in blocks. A block holds rows that one view number brings, of neighboring images: which images
    stand beside each other in a batch changes the last bits of a logit, and a stored number must not depend on who
    asked first.
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
        self._first_row, self._first_block = [0], [0]  # of each view that was numbered, and the next one's
        self._fresh: list[NDArray[np.int64]] = []  # the images whose view is new with each

    def number(self, views: int) -> None:
        """Number the rows of views 0 to `views` - 1."""
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
        """Rows of all views that were numbered."""
        return self._first_row[-1]

    @property
    def blocks(self) -> int:
        """Blocks of all views that were numbered."""
        return self._first_block[-1]

    def of(self, indices: NDArray[np.int64], view: int) -> NDArray[np.int64]:
        """int64 [B] rows of images of the split in a view that was numbered."""
        ranks = self._rank[indices]
        if self._table is None:
            return self._first_row[view] + ranks
        return self._table[ranks, self._views.codes(indices, view)].astype(np.int64)

    def blocks_of(self, view: int) -> NDArray[np.int64]:
        """The blocks that hold all images' rows of a view: its own, and those of the earlier views that it repeats."""
        rows = self.of(self.indices, view)
        views = np.searchsorted(self._first_row, rows, side="right") - 1
        first_rows, first_blocks = np.asarray(self._first_row), np.asarray(self._first_block)
        return np.unique(first_blocks[views] + (rows - first_rows[views]) // self._block)

    def members(self, block: int) -> tuple[int, int, NDArray[np.int64]]:
        """A block's view number, first row, and images, in the order of its rows."""
        view = int(np.searchsorted(self._first_block, block, side="right")) - 1
        start = (block - self._first_block[view]) * self._block
        return view, self._first_row[view] + start, self._fresh[view][start : start + self._block]
