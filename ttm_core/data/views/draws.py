"""The random numbers of a view, one stream per purpose."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ttm_core.data.random import uniform


class Stream(IntEnum):
    """The purpose of a random number. Streams are independent, so adding one does not change the others."""

    FLIP = 1
    ROW = 2
    COLUMN = 3
    AREA = 4
    ASPECT = 5
    ERASE = 6
    ERASE_AREA = 7
    ERASE_ASPECT = 8
    ERASE_ROW = 9
    ERASE_COLUMN = 10
    ERASE_NOISE = 11
    MIX = 12
    MIX_KIND = 13
    MIX_PARTNER = 14
    MIX_SHARE = 15
    MIX_ROW = 16
    MIX_COLUMN = 17
    # Four streams per RandAugment layer: the first layer has 1000 to 1003.
    RAND_AUGMENT = 1000


@dataclass(frozen=True)
class Draws:
    """The random numbers of one view of B images."""

    seed: int
    view: int
    indices: NDArray[np.int64]  # [B]

    def uniform(self, stream: int) -> NDArray[np.float64]:
        """float64 [B] in [0, 1)."""
        return uniform(int(stream), self.seed, self.view, self.indices)

    def uniforms(self, *streams: int) -> NDArray[np.float64]:
        """`uniform` of several streams in one call, which takes less time: float64 [streams, B]."""
        return uniform(np.array(streams)[:, None], self.seed, self.view, self.indices)

    def integers(self, stream: int, count: int) -> NDArray[np.int64]:
        """int64 [B] in [0, count)."""
        return (self.uniform(stream) * count).astype(np.int64)
