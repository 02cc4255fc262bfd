"""Crops and horizontal flips."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ttm_core.data.encoded.decoding import Box
from ttm_core.data.images import Images
from ttm_core.data.views.draws import Draws, Stream
from ttm_core.spec.dataset import CropFlip, ResizedCrop


def crop_flip(images: Images, spec: CropFlip, size: int, draws: Draws) -> torch.Tensor:
    """Views padded, cropped at random offsets and flipped: uint8 [B, C, size, size]."""
    places = 2 * spec.padding + 1
    return _pad_crop_flip(
        images.center_squares(draws.indices, size),
        spec.padding,
        torch.from_numpy(draws.integers(Stream.ROW, places)),
        torch.from_numpy(draws.integers(Stream.COLUMN, places)),
        _flips(spec.flip, draws),
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
    area, aspect = draws.uniform(Stream.AREA), draws.uniform(Stream.ASPECT)
    row, column = draws.uniform(Stream.ROW), draws.uniform(Stream.COLUMN)

    def boxes(i: int, width: int, height: int) -> Box:
        return _random_box(spec, width, height, area[i], aspect[i], row[i], column[i])

    pixels = images.crops(draws.indices, boxes, size)
    flips = _flips(spec.flip, draws)
    pixels[flips] = pixels[flips].flip(-1)
    return pixels


def _flips(enabled: bool, draws: Draws) -> torch.Tensor:
    if not enabled:
        return torch.zeros(len(draws.indices), dtype=torch.bool)
    return torch.from_numpy(draws.uniform(Stream.FLIP) < 0.5)


def _pad_crop_flip(
    pixels: torch.Tensor, padding: int, rows: torch.Tensor, columns: torch.Tensor, flips: torch.Tensor
) -> torch.Tensor:
    """Zero-pads, crops each image at its own offset and flips it, in one gather for the batch.

    pixels uint8 [B, C, H, W]; rows, columns int64 [B]; flips bool [B] -> uint8 [B, C, H, W].
    """
    batch, channels, height, width = pixels.shape
    padded = functional.pad(pixels, (padding, padding, padding, padding))
    across = torch.arange(width).expand(batch, width)
    across = torch.where(flips[:, None], width - 1 - across, across) + columns[:, None]  # [B, W]
    down = torch.arange(height) + rows[:, None]  # [B, H]
    flat = down[:, :, None] * (width + 2 * padding) + across[:, None, :]  # [B, H, W] into a padded plane
    planes = padded.flatten(2)
    index = flat.flatten(1)[:, None, :].expand(batch, channels, height * width)
    return planes.gather(2, index).unflatten(2, (height, width))


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
