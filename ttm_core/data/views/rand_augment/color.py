"""Operations that blend each image with a gray or blurred one."""

import torch
from torch import Tensor

from ttm_core.data.views.rand_augment.tables import gray


def color(pixels: Tensor, factors: Tensor) -> Tensor:
    """Blends images with their gray: uint8 [B, C, H, W]. Gray images stay unchanged.

    `factors` are those of the image and of the gray: float32 [B, 2].
    """
    if pixels.shape[1] == 1:
        return pixels
    own, other = factors[:, :, None, None, None].unbind(1)
    # Two operations, each rounded once: a fused one rounds differently in parts of a CPU's vectors.
    return _clamped((pixels * own).add_(gray(pixels) * other))


def sharpness(pixels: Tensor, factors: Tensor) -> Tensor:
    """Blends the inner pixels of images with their mean of 3 x 3 pixels, the middle one weighted by 5 of 13.

    `factors` are those of the image and of the blurred one: float32 [B, 2]. Returns uint8 [B, C, H, W].
    """
    height, width = pixels.shape[2:]
    if min(height, width) < 3:
        return pixels
    wide = pixels.to(torch.int16)
    inner = wide[..., 1:-1, 1:-1]
    rows = wide[..., :-2] + wide[..., 1:-1] + wide[..., 2:]
    blurred = (rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :] + inner * 4).float().div_(13).round_()
    other = factors[:, 1, None, None, None]
    sharpened = pixels.clone()
    sharpened[..., 1:-1, 1:-1] = _clamped(blurred.sub_(inner).mul_(other).add_(inner))
    return sharpened


def _clamped(pixels: Tensor) -> Tensor:
    """float32 to uint8, rounded down."""
    return pixels.clamp_(0, 255).to(torch.uint8)
