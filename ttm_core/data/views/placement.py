"""Images that live on the device of a run."""

import torch
from torch import Tensor

from ttm_core.data.images import ArrayImages, Images

_SHARE = 0.25
"""Of the device's free memory; models, activations and optimizer states need the rest."""


def resident_pixels(images: Images, size: int, device: torch.device) -> Tensor | None:
    """All pixels of images in memory, uint8 [N, C, size, size] on the device; None where they must be made in batches.

    A device gets one copy of the images, if it has room for them. On a CPU there is no copy.
    """
    if not isinstance(images, ArrayImages) or images.pixels.shape[-2:] != (size, size):
        return None
    if images.is_on(device) or fits(images.pixels.nbytes, _free_bytes(device)):
        return images.on(device)
    return None


def fits(image_bytes: int, free_bytes: int) -> bool:
    """Whether images may take their bytes of a device's free memory."""
    return image_bytes <= _SHARE * free_bytes


def _free_bytes(device: torch.device) -> int:
    """Free memory of a GPU, with what torch's allocator has reserved and does not use."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
