"""Converts a batch of pixels to the input of a model: channels, size, normalization."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ttm_core.spec.job import Normalization

# ITU-R 601-2 luma, which Pillow uses to convert RGB to L.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Preprocess:
    """The input of a model: square images of `image_size` pixels with `channels` channels, normalized."""

    channels: int
    image_size: int
    normalization: Normalization

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] -> float32 [B, channels, image_size, image_size], channels last in memory."""
        x = pixels.to(memory_format=torch.channels_last).float() if pixels.shape[1] > 1 else pixels.float()
        x = _with_channels(x, self.channels)
        if x.shape[-1] != self.image_size or x.shape[-2] != self.image_size:
            size = (self.image_size, self.image_size)
            x = functional.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        mean = x.new_tensor(self.normalization.mean)[:, None, None] * 255
        scale = 1 / (x.new_tensor(self.normalization.std)[:, None, None] * 255)
        return x.sub(mean).mul_(scale).contiguous(memory_format=torch.channels_last)


def _with_channels(x: Tensor, channels: int) -> Tensor:
    if x.shape[1] == channels:
        return x
    if x.shape[1] == 1:
        return x.expand(-1, channels, -1, -1)
    if channels == 1:
        return (x * x.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    raise ValueError(f"cannot convert images with {x.shape[1]} channels for a model with {channels}")
