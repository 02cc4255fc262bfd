"""Converts a batch of pixels to the input of a model: channels, size, normalization."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ttm_core.spec.normalization import Normalization
from ttm_core.spec.training.training import MemoryFormat

TORCH_FORMATS: dict[MemoryFormat, torch.memory_format] = {
    "channels_last": torch.channels_last,
    "contiguous": torch.contiguous_format,
}


def format_of(x: Tensor) -> torch.memory_format:
    """The memory format of [B, C, H, W]; the contiguous one where both are the same."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


# ITU-R 601-2 luma, which Pillow uses to convert RGB to L.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Preprocess:
    """The input of a model: square images of `image_size` pixels with `channels` channels, normalized."""

    channels: int
    image_size: int
    normalization: Normalization
    memory_format: MemoryFormat = "channels_last"
    # Copied to a device once: a copy in every step would synchronize a GPU.
    _constants: dict[torch.device, "_Constants"] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] -> float32 [B, channels, image_size, image_size] in `memory_format`."""
        memory_format = TORCH_FORMATS[self.memory_format]
        x = pixels.to(memory_format=memory_format).float() if pixels.shape[1] > 1 else pixels.float()
        constants = self._on(x.device)
        x = _with_channels(x, self.channels, constants.luma)
        if x.shape[-1] != self.image_size or x.shape[-2] != self.image_size:
            size = (self.image_size, self.image_size)
            x = functional.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        return x.sub(constants.mean).mul_(constants.scale).contiguous(memory_format=memory_format)

    def _on(self, device: torch.device) -> "_Constants":
        if device not in self._constants:
            # Tensors of inference mode could not be used in training.
            with torch.inference_mode(False):
                mean, std, luma = (
                    torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
                    for values in (self.normalization.mean, self.normalization.std, _LUMA)
                )
                self._constants[device] = _Constants(mean * 255, 1 / (std * 255), luma)
        return self._constants[device]


class _Constants(NamedTuple):
    """Mean, inverse of the standard deviation, both for pixels in [0, 255], and weights of red, green and blue: float32
    [C, 1, 1].
    """

    mean: Tensor
    scale: Tensor
    luma: Tensor


def _with_channels(x: Tensor, channels: int, luma: Tensor) -> Tensor:
    if x.shape[1] == channels:
        return x
    if x.shape[1] == 1:
        return x.expand(-1, channels, -1, -1)
    if channels == 1:
        return (x * luma).sum(1, keepdim=True)
    raise ValueError(f"cannot convert images with {x.shape[1]} channels for a model with {channels}")
