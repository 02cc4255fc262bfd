"""Crops and horizontal flips."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ttm_core.data.encoded.decoding import Box
from ttm_core.data.images import Images
from ttm_core.data.views.draws import Draws, Stream
from ttm_core.data.views.pieces import in_pieces
from ttm_core.spec.dataset import CropFlip, ResizedCrop


@dataclass(frozen=True)
class Crops:
    """Offsets and flips of B padded images."""

    padding: int
    rows: torch.Tensor  # int64 [B]
    columns: torch.Tensor  # int64 [B]
    flips: torch.Tensor  # bool [B]

    def apply(self, pixels: torch.Tensor) -> torch.Tensor:
        """Zero-pads, crops each image at its own offset and flips it, in one gather for the batch.

        uint8 [B, C, H, W] -> uint8 [B, C, H, W].
        """
        return in_pieces(self._gathered, pixels, self.rows, self.columns, self.flips)

    def _gathered(
        self, pixels: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, flips: torch.Tensor
    ) -> torch.Tensor:
        batch, channels, height, width = pixels.shape
        padded = functional.pad(pixels, [self.padding] * 4)
        across = torch.arange(width, device=pixels.device).expand(batch, width)
        across = torch.where(flips[:, None], width - 1 - across, across) + columns[:, None]  # [B, W]
        down = torch.arange(height, device=pixels.device) + rows[:, None]  # [B, H]
        flat = down[:, :, None] * (width + 2 * self.padding) + across[:, None, :]  # [B, H, W] into a padded plane
        planes = padded.flatten(2)
        index = flat.flatten(1)[:, None, :].expand(batch, channels, height * width)
        return planes.gather(2, index).unflatten(2, (height, width))


def draw_crops(spec: CropFlip, draws: Draws) -> Crops:
    """Draws offsets and flips."""
    row, column, flip = draws.uniforms(Stream.ROW, Stream.COLUMN, Stream.FLIP)
    places = 2 * spec.padding + 1
    return Crops(
        padding=spec.padding,
        rows=torch.from_numpy((row * places).astype(np.int64)),
        columns=torch.from_numpy((column * places).astype(np.int64)),
        flips=torch.from_numpy(flip < 0.5 if spec.flip else np.zeros(len(flip), bool)),
    )


def crop_flip_codes(spec: CropFlip, draws: Draws) -> NDArray[np.int64]:
    """The index of each view among the `crop_flip_count` possible ones: int64 [B]."""
    places = 2 * spec.padding + 1
    code = draws.integers(Stream.ROW, places) * places + draws.integers(Stream.COLUMN, places)
    return code * 2 + (draws.uniform(Stream.FLIP) < 0.5) if spec.flip else code


def crop_flip_count(spec: CropFlip) -> int:
    """The number of distinct views of an image."""
    return (2 * spec.padding + 1) ** 2 * (2 if spec.flip else 1)


def resized_crop(images: Images, spec: ResizedCrop, size: int, draws: Draws) -> torch.Tensor:
    """Views cropped to random boxes, resized and flipped: uint8 [B, C, size, size]."""
    area, aspect, row, column, flip = draws.uniforms(Stream.AREA, Stream.ASPECT, Stream.ROW, Stream.COLUMN, Stream.FLIP)

    def boxes(i: int, width: int, height: int) -> Box:
        return _random_box(spec, width, height, area[i], aspect[i], row[i], column[i])

    pixels = images.crops(draws.indices, boxes, size)
    # One by one, because selecting images by a mask costs twenty times as much as flipping them.
    for position in np.flatnonzero(flip < 0.5) if spec.flip else ():
        pixels[position] = pixels[position].flip(-1)
    return pixels


def _random_box(
    crop: ResizedCrop, width: int, height: int, area: float, aspect: float, row: float, column: float
) -> Box:
    """The random crop of Szegedy et al. 2015 from four uniform numbers, without retries: too long boxes are clipped."""
    target = (crop.min_area + area * (1 - crop.min_area)) * width * height
    ratio = math.exp((2 * aspect - 1) * math.log(crop.max_aspect))
    box_width = min(max(round(math.sqrt(target * ratio)), 1), width)
    box_height = min(max(round(math.sqrt(target / ratio)), 1), height)
    left, upper = int(column * (width - box_width + 1)), int(row * (height - box_height + 1))
    return left, upper, left + box_width, upper + box_height
