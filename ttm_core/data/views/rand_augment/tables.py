"""Operations that map the gray levels of each channel: tables of the new levels, and their application.

Integers and single operations of IEEE 754 on float32 make the results equal on all devices and in all batches.
"""

import torch
from torch import Tensor

# The weights of red, green and blue in torchvision's and Pillow's gray, in units of 2^-16.
_RED, _GREEN, _BLUE = 19589, 38470, 7471


def look_up(pixels: Tensor, tables: Tensor) -> Tensor:
    """Maps images uint8 [B, C, H, W] with a table of each channel, uint8 [B, C, 256]."""
    return tables.flatten().index_select(0, _flat_levels(pixels)).view(pixels.shape)


def _flat_levels(pixels: Tensor) -> Tensor:
    """The place of each pixel's level in flat tables [B, C, 256]: int64 [B * C * H * W]."""
    images, channels = pixels.shape[:2]
    first = torch.arange(images * channels, device=pixels.device).mul_(256).view(images, channels, 1, 1)
    return pixels.to(torch.int64).add_(first).flatten()


def autocontrast_tables(pixels: Tensor) -> Tensor:
    """Stretch each channel to all levels: uint8 [B, C, 256] for uint8 [B, C, H, W]."""
    flat = pixels.flatten(2)
    low, high = flat.amin(2, keepdim=True).float(), flat.amax(2, keepdim=True).float()
    constant = low == high
    scale = ((high - low) * (1 / 255)).masked_fill_(constant, 1)
    levels = _levels(pixels)
    return torch.where(constant, levels, (levels - low).div_(scale)).clamp_(0, 255).to(torch.uint8)


def equalize_tables(pixels: Tensor) -> Tensor:
    """Distribute the levels of each channel evenly, as Pillow does: uint8 [B, C, 256] for uint8 [B, C, H, W]."""
    images, channels, height, width = pixels.shape
    levels = _flat_levels(pixels)
    # Sums of integers do not depend on their order. One dimension is the case that torch computes deterministically.
    counts = torch.zeros(images * channels * 256, dtype=torch.int32, device=pixels.device)
    counts.scatter_add_(0, levels, torch.ones(1, dtype=torch.int32, device=pixels.device).expand(len(levels)))
    counts = counts.view(images, channels, 256)
    below = counts.cumsum(2).sub_(counts)
    of_highest = counts.gather(2, pixels.flatten(2).amax(2, keepdim=True).to(torch.int64))
    step = (height * width - of_highest) // 255
    spread = ((below + step // 2) // step.clamp_min(1)).clamp_(max=255)
    return torch.where(step == 0, _levels(pixels).to(torch.int64), spread).to(torch.uint8)


def contrast_tables(pixels: Tensor, factors: Tensor) -> Tensor:
    """Blend images with their mean gray: uint8 [B, C, 256] for uint8 [B, C, H, W].

    `factors` are those of the image and of the gray: float32 [B, 2].
    """
    own, other = factors[:, :, None, None].unbind(1)
    mean = gray(pixels).flatten(1).sum(1).double().div_(pixels.shape[2] * pixels.shape[3]).float()
    tables = (_levels(pixels) * own).add_(mean[:, None, None] * other)
    return tables.clamp_(0, 255).to(torch.uint8).expand(-1, pixels.shape[1], -1)


def gray(pixels: Tensor) -> Tensor:
    """The gray levels of uint8 [B, C, H, W], rounded down: int32 [B, 1, H, W]."""
    if pixels.shape[1] == 1:
        return pixels.to(torch.int32)
    red, green, blue = pixels.to(torch.int32).split(1, dim=1)
    return (red * _RED).add_(green * _GREEN).add_(blue * _BLUE).bitwise_right_shift_(16)


def _levels(pixels: Tensor) -> Tensor:
    """0 to 255, float32 on the device of the pixels."""
    return torch.arange(256, dtype=torch.float32, device=pixels.device)
