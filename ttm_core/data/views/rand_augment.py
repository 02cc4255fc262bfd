"""RandAugment, Cubuk et al. 2020 (arXiv 1909.13719): random operations of equal magnitude for each view."""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import ndtri
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from ttm_core.data.views.draws import Draws, Stream
from ttm_core.spec.dataset import RandAugment

Operation = Callable[[torch.Tensor, float], torch.Tensor]
"""(uint8 [C, H, W], strength in [-1, 1]) -> uint8 [C, H, W]."""

_GRAY = 128  # fill color of uncovered pixels


def rand_augment(pixels: torch.Tensor, spec: RandAugment, draws: Draws) -> torch.Tensor:
    """Applies `spec.layers` random operations to each image, uint8 [B, C, H, W]."""
    images = list(pixels)
    for layer in range(spec.layers):
        stream = Stream.RAND_AUGMENT + 4 * layer
        applied = draws.uniform(stream) < spec.probability
        operation = draws.integers(stream + 1, len(OPERATIONS))
        sign = np.where(draws.uniform(stream + 2) < 0.5, -1.0, 1.0)
        deviation = ndtri(np.clip(draws.uniform(stream + 3), 2.0**-53, None)) * spec.magnitude_std
        strength = np.clip(spec.magnitude + deviation, 0, 10) / 10 * sign
        for i in applied.nonzero()[0]:
            images[i] = OPERATIONS[operation[i]](images[i], float(strength[i]))
    return torch.stack(images)


def _affine(
    image: torch.Tensor, *, across: float = 0, down: float = 0, shear: tuple[float, float] = (0, 0)
) -> torch.Tensor:
    fill = [float(_GRAY)] * image.shape[0]
    translate = [round(across * image.shape[-1]), round(down * image.shape[-2])]
    return transforms.affine(
        image,
        angle=0.0,
        translate=translate,
        scale=1.0,
        shear=[math.degrees(math.atan(part)) for part in shear],
        interpolation=InterpolationMode.BILINEAR,
        fill=fill,
    )


def _rotate(image: torch.Tensor, strength: float) -> torch.Tensor:
    fill = [float(_GRAY)] * image.shape[0]
    return transforms.rotate(image, 30 * strength, interpolation=InterpolationMode.BILINEAR, fill=fill)


def _color(image: torch.Tensor, strength: float) -> torch.Tensor:
    return transforms.adjust_saturation(image, 1 + 0.9 * strength) if image.shape[0] == 3 else image


# The paper's operations with the ranges of timm's "increasing" variant, in which a higher magnitude is always a
# stronger change. Operations without a strength ignore it.
OPERATIONS: tuple[Operation, ...] = (
    lambda image, strength: transforms.autocontrast(image),
    lambda image, strength: transforms.equalize(image),
    lambda image, strength: transforms.invert(image),
    _rotate,
    lambda image, strength: transforms.posterize(image, 4 - min(int(4 * abs(strength)), 3)),
    lambda image, strength: _solarize(image, 256 - min(int(256 * abs(strength)), 256)),
    lambda image, strength: _add_below_half(image, min(int(110 * abs(strength)), 110)),
    _color,
    lambda image, strength: transforms.adjust_contrast(image, 1 + 0.9 * strength),
    lambda image, strength: transforms.adjust_brightness(image, 1 + 0.9 * strength),
    lambda image, strength: transforms.adjust_sharpness(image, 1 + 0.9 * strength),
    lambda image, strength: _affine(image, shear=(0.3 * strength, 0)),
    lambda image, strength: _affine(image, shear=(0, 0.3 * strength)),
    lambda image, strength: _affine(image, across=0.45 * strength),
    lambda image, strength: _affine(image, down=0.45 * strength),
)


def _solarize(image: torch.Tensor, threshold: int) -> torch.Tensor:
    """Solarizes. torchvision's function refuses the threshold 256, which changes nothing."""
    return torch.where(image.int() >= threshold, 255 - image, image)


def _add_below_half(image: torch.Tensor, amount: int) -> torch.Tensor:
    """Solarize-add: brightens pixels below 128."""
    return torch.where(image < 128, image + amount, image).to(torch.uint8)
