"""Rotation, shear and translation as one bilinear resampling with a gray background.

Places and weights are integers, so the results are equal on all devices and in all batches.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_GRAY = 128  # background
_PLACE_BITS = 24  # of the fraction of a place
_WEIGHT_BITS = 11  # of the weight of a pixel: products of two weights and a gray level fit into 31 bits
_MARGIN = 2  # pixels of background on each side, between which places outside of the image are resampled

Matrix = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): the place (x, y) of the result shows (ax + by + c, dx + ey + f), in pixels from the center."""


def rotation(angle: float) -> Matrix:
    """Counterclockwise by an angle in radians."""
    return (math.cos(angle), -math.sin(angle), 0, math.sin(angle), math.cos(angle), 0)


def shear(*, across: float = 0, down: float = 0) -> Matrix:
    return (1, across, 0, down, 1, 0)


def translation(*, across: float = 0, down: float = 0) -> Matrix:
    """By a number of pixels to the right and down."""
    return (1, 0, -across, 0, 1, -down)


def fixed_point(matrices: Sequence[Matrix], size: int) -> Tensor:
    """Matrices for images of `size` pixels in units of 2^-24: int64 [B, 6].

    They are multiplied with twice the distance from the center, an integer, and count places from the first pixel.
    """
    values = np.array(matrices, np.float64).reshape(-1, 2, 3)
    values[:, :, :2] /= 2
    values[:, :, 2] += (size - 1) / 2
    return torch.from_numpy(np.rint(values * 2**_PLACE_BITS).astype(np.int64).reshape(-1, 6))


def resample(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Moves the pixels of images by their `fixed_point` matrices: uint8 [B, C, S, S] -> uint8 [B, C, S, S]."""
    size = pixels.shape[-1]
    column, column_weight = _places(matrices[:, :3], size)
    row, row_weight = _places(matrices[:, 3:], size)
    width = size + 2 * _MARGIN
    planes = functional.pad(pixels, [_MARGIN] * 4, value=_GRAY).flatten(2)
    index = row.mul_(width).add_(column)[:, None].expand(-1, pixels.shape[1], -1)

    def corner(down: int, right: int) -> Tensor:
        """The pixels below and to the right of each place."""
        return planes[..., down * width + right :].gather(2, index).to(torch.int32)

    upper = _interpolated(corner(0, 0), corner(0, 1), column_weight)
    lower = _interpolated(corner(1, 0), corner(1, 1), column_weight)
    half = 1 << 2 * _WEIGHT_BITS - 1
    found = _interpolated(upper, lower, row_weight).add_(half).bitwise_right_shift_(2 * _WEIGHT_BITS)
    return found.to(torch.uint8).view(pixels.shape)


def _places(coefficients: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The rows or columns that the pixels of the result show, from int64 [B, 3].

    Returns the number of the first of two neighbors, with the margin, int64 [B, S * S], and the weight of the second
    one in units of 2^-11, int32 [B, 1, S * S].
    """
    distance = torch.arange(1 - size, size, 2, device=coefficients.device)
    across, down, first = coefficients[:, :, None].unbind(1)
    places = ((across * distance)[:, None, :] + (down * distance + first)[:, :, None]).flatten(1)
    weight = (places >> (_PLACE_BITS - _WEIGHT_BITS)).bitwise_and_((1 << _WEIGHT_BITS) - 1).to(torch.int32)
    number = places.bitwise_right_shift_(_PLACE_BITS).clamp_(-_MARGIN, size).add_(_MARGIN)
    return number, weight[:, None]


def _interpolated(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """int32 between two pixels, in units of 2^-11 of theirs."""
    return second.sub_(first).mul_(weight).add_(first.bitwise_left_shift_(_WEIGHT_BITS))
