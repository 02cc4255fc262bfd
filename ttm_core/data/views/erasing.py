"""Random erasing, Zhong et al. 2020 (arXiv 1708.04896): a rectangle of a view is replaced by noise."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttm_core.data.random import hash_key
from ttm_core.data.views.draws import Draws, Stream
from ttm_core.data.views.noise import hash_ranges
from ttm_core.spec.dataset import RandomErasing


@dataclass(frozen=True)
class Erasing:
    """The rectangles of E images of a batch, which have R rows over all images and channels."""

    states: Tensor  # int64 [E] hash of the image's key, without the position in the rectangle
    counts: tuple[int, ...]  # [E] values in the rectangle of each image, over all channels
    lengths: Tensor  # int64 [E] the same
    row_starts: Tensor  # int64 [R] place of the row's first pixel in the batch, less the number of values before it
    row_lengths: Tensor  # int64 [R] pixels

    def apply(self, pixels: Tensor) -> Tensor:
        """Fills the rectangles with uniform noise: uint8 [B, C, H, W] -> uint8 [B, C, H, W]."""
        if not self.counts:
            return pixels
        noise = hash_ranges(self.states, self.lengths, self.counts).bitwise_right_shift_(56).to(torch.uint8)
        places = self.row_starts.repeat_interleave(self.row_lengths, output_size=len(noise))
        places.add_(torch.arange(len(noise), device=pixels.device))
        return pixels.flatten().scatter(0, places, noise).view(pixels.shape)


def draw_erasing(spec: RandomErasing, draws: Draws, channels: int, size: int) -> Erasing:
    """Draws the rectangles of views of `size` pixels.

    The paper retries until a rectangle fits. Here, too long rectangles are clipped, so that every view needs the same
    number of draws.
    """
    drawn = draws.uniforms(Stream.ERASE, Stream.ERASE_AREA, Stream.ERASE_ASPECT, Stream.ERASE_ROW, Stream.ERASE_COLUMN)
    erased = (drawn[0] < spec.probability).nonzero()[0]
    area, aspect, row_place, column_place = drawn[1:, erased]
    target = (spec.min_area + area * (spec.max_area - spec.min_area)) * size * size
    # NumPy's exponential may differ in the last bit between processors.
    ratio = np.array([math.exp(x) for x in (2 * aspect - 1) * math.log(spec.max_aspect)])
    tall, wide = _side(target * ratio, size), _side(target / ratio, size)
    top = (row_place * (size - tall + 1)).astype(np.int64)
    left = (column_place * (size - wide + 1)).astype(np.int64)

    lengths = channels * tall * wide
    rows = np.repeat(np.arange(len(erased)), channels * tall)  # [R] the rectangle of each row
    channel, row = np.divmod(_numbers(channels * tall), tall[rows])
    first = ((erased[rows] * channels + channel) * size + top[rows] + row) * size + left[rows]
    row_lengths = wide[rows]
    return Erasing(
        states=torch.from_numpy(
            hash_key(int(Stream.ERASE_NOISE), draws.seed, draws.view, draws.indices[erased]).astype(np.int64)
        ),
        counts=tuple(lengths.tolist()),
        lengths=torch.from_numpy(lengths),
        row_starts=torch.from_numpy(first - (np.cumsum(row_lengths) - row_lengths)),
        row_lengths=torch.from_numpy(row_lengths),
    )


def _side(square: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """The sides of squares, in whole pixels from 1 to `size`."""
    return np.clip(np.rint(np.sqrt(square)), 1, size).astype(np.int64)


def _numbers(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 to n - 1 for each of the counts n, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
