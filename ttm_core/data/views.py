"""A view of an image is a pure function of (augmentation, seed, image, view number), and of nothing else.

No worker, batch, order or clock enters it: that is what makes a run resumable to the bit, and a teacher's logits for a
view worth keeping.
"""

import math
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray

from ttm_core.data.images import Images
from ttm_core.data.random import uniform
from ttm_core.data.specs import AugmentationSpec, CropFlip, NoAugmentation, ResizedCrop

# What each uniform number of a view is drawn for: its own stream, so that adding one leaves the others as they are.
_FLIP, _ROW, _COLUMN, _AREA, _ASPECT = range(1, 6)


@dataclass(frozen=True)
class Views:
    """The augmented views of a set of images at one size."""

    images: Images
    augmentation: AugmentationSpec
    size: int
    seed: int

    def batch(self, indices: NDArray[np.int64], view: int) -> torch.Tensor:
        """View number `view` of each image: uint8 [B, C, size, size]."""
        match self.augmentation:
            case NoAugmentation():
                return self.images.whole(indices, self.size)
            case CropFlip(padding=padding, flip=flip):
                pixels = self.images.whole(indices, self.size)
                rows = self._offsets(_ROW, indices, view, 2 * padding + 1)
                columns = self._offsets(_COLUMN, indices, view, 2 * padding + 1)
                return _pad_crop_flip(pixels, padding, rows, columns, self._flips(flip, indices, view))
            case ResizedCrop() as crop:
                area = uniform(_AREA, self.seed, view, indices)
                aspect = uniform(_ASPECT, self.seed, view, indices)
                row = uniform(_ROW, self.seed, view, indices)
                column = uniform(_COLUMN, self.seed, view, indices)

                def boxes(i: int, width: int, height: int) -> tuple[float, float, float, float]:
                    return _random_box(crop, width, height, area[i], aspect[i], row[i], column[i])

                pixels = self.images.crops(indices, boxes, self.size)
                flips = self._flips(crop.flip, indices, view)
                return torch.where(flips[:, None, None, None], pixels.flip(-1), pixels)
            case _:
                assert_never(self.augmentation)

    def _offsets(self, stream: int, indices: NDArray[np.int64], view: int, count: int) -> torch.Tensor:
        return torch.from_numpy((uniform(stream, self.seed, view, indices) * count).astype(np.int64))

    def _flips(self, wanted: bool, indices: NDArray[np.int64], view: int) -> torch.Tensor:
        if not wanted:
            return torch.zeros(len(indices), dtype=torch.bool)
        return torch.from_numpy(uniform(_FLIP, self.seed, view, indices) < 0.5)


def _pad_crop_flip(
    pixels: torch.Tensor, padding: int, rows: torch.Tensor, columns: torch.Tensor, flips: torch.Tensor
) -> torch.Tensor:
    """Zero-pad, crop at each image's own offset, flip where asked: one gather for the whole batch.

    pixels uint8 [B, C, H, W]; rows, columns int64 [B]; flips bool [B] -> uint8 [B, C, H, W].
    """
    batch, channels, height, width = pixels.shape
    padded = torch.nn.functional.pad(pixels, (padding, padding, padding, padding))
    across = torch.arange(width).expand(batch, width)
    across = torch.where(flips[:, None], width - 1 - across, across) + columns[:, None]  # [B, W]
    down = torch.arange(height) + rows[:, None]  # [B, H]
    flat = down[:, :, None] * (width + 2 * padding) + across[:, None, :]  # [B, H, W] into a padded plane
    planes = padded.flatten(2)
    index = flat.flatten(1)[:, None, :].expand(batch, channels, height * width)
    return planes.gather(2, index).unflatten(2, (height, width))


def _random_box(
    crop: ResizedCrop, width: int, height: int, area: float, aspect: float, row: float, column: float
) -> tuple[float, float, float, float]:
    """Szegedy et al. 2015's crop from four uniform numbers: no retries, a box too long for the image is cut to it."""
    target = (crop.min_area + area * (1 - crop.min_area)) * width * height
    ratio = math.exp((2 * aspect - 1) * math.log(crop.max_aspect))
    box_width = min(math.sqrt(target * ratio), width)
    box_height = min(math.sqrt(target / ratio), height)
    left, upper = column * (width - box_width), row * (height - box_height)
    return left, upper, left + box_width, upper + box_height
