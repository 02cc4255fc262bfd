"""Batched operations in pieces that fit into a CPU's cache."""

from collections.abc import Callable

import torch
from torch import Tensor

_PIECE = 2**20
"""Elements of a piece: seven images of 224 pixels, or 341 of 32. Intermediate results have up to eight bytes each."""


def in_pieces(function: Callable[..., Tensor], pixels: Tensor, *parameters: Tensor) -> Tensor:
    """`function(pixels, *parameters)` of a function that computes each image of uint8 [B, C, H, W] on its own.

    The parameters have B rows. On a GPU, and for small batches, the function is called once.
    """
    images = max(_PIECE // max(pixels[0].numel(), 1), 1) if len(pixels) else 1
    if pixels.device.type != "cpu" or len(pixels) <= images:
        return function(pixels, *parameters)
    pieces = zip(*(tensor.split(images) for tensor in (pixels, *parameters)), strict=True)
    return torch.cat([function(*piece) for piece in pieces])
