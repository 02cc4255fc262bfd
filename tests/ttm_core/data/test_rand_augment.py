"""RandAugment's operations equal torchvision's, and an image's result does not depend on its batch or the device."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from ttm_core.data.views.draws import Draws
from ttm_core.data.views.rand_augment.layers import Operation, build_layer, draw_layers
from ttm_core.spec.dataset import RandAugment

STRENGTHS = (-1.0, -0.63, -0.2, 0.0, 0.05, 0.37, 0.9, 1.0)
GRAY = 128


def images(count: int, channels: int, size: int) -> Tensor:
    """Smooth and noisy images with different ranges of levels; the first is flat."""
    generator = torch.Generator().manual_seed(size)
    noise = torch.rand((count, channels, size, size), generator=generator)
    smooth = functional.interpolate(noise[..., : max(size // 4, 1), : max(size // 4, 1)], (size, size), mode="bilinear")
    mixed = torch.where(torch.rand((count, 1, 1, 1), generator=generator) < 0.5, noise, smooth)
    low, high = torch.rand((2, count, 1, 1, 1), generator=generator).sort(0).values * 255
    pixels = (low + mixed * (high - low)).to(torch.uint8)
    pixels[0] = 77
    return pixels


def applied(pixels: Tensor, operation: Operation, strengths: np.ndarray) -> Tensor:
    count = len(pixels)
    return build_layer(count, np.arange(count), np.full(count, operation), strengths, pixels.shape[-1]).apply(pixels)


def moved(image: Tensor, *, translate: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0, 0)) -> Tensor:
    degrees = [math.degrees(math.atan(part)) for part in shear]
    fill = [float(GRAY)] * len(image)
    return transforms.affine(image, 0.0, list(translate), 1.0, degrees, InterpolationMode.BILINEAR, fill)


def saturated(image: Tensor, strength: float) -> Tensor:
    return transforms.adjust_saturation(image, 1 + 0.9 * strength) if len(image) == 3 else image


def solarized(image: Tensor, strength: float) -> Tensor:
    threshold = 256 - min(int(256 * abs(strength)), 256)
    return image if threshold == 256 else transforms.solarize(image, threshold)


COLORS: dict[Operation, Callable[[Tensor, float], Tensor]] = {
    Operation.AUTOCONTRAST: lambda image, strength: transforms.autocontrast(image),
    Operation.EQUALIZE: lambda image, strength: transforms.equalize(image),
    Operation.INVERT: lambda image, strength: transforms.invert(image),
    Operation.POSTERIZE: lambda image, strength: transforms.posterize(image, 4 - min(int(4 * abs(strength)), 3)),
    Operation.SOLARIZE: solarized,
    Operation.SOLARIZE_ADD: lambda image, strength: torch.where(image < 128, image + int(110 * abs(strength)), image),
    Operation.COLOR: saturated,
    Operation.CONTRAST: lambda image, strength: transforms.adjust_contrast(image, 1 + 0.9 * strength),
    Operation.BRIGHTNESS: lambda image, strength: transforms.adjust_brightness(image, 1 + 0.9 * strength),
    Operation.SHARPNESS: lambda image, strength: transforms.adjust_sharpness(image, 1 + 0.9 * strength),
}
# With the size of the view, because the reference moves larger images.
MOVES: dict[Operation, Callable[[Tensor, float, int], Tensor]] = {
    Operation.ROTATE: lambda image, strength, size: transforms.rotate(
        image, 30 * strength, InterpolationMode.BILINEAR, fill=[float(GRAY)] * len(image)
    ),
    Operation.SHEAR_X: lambda image, strength, size: moved(image, shear=(0.3 * strength, 0)),
    Operation.SHEAR_Y: lambda image, strength, size: moved(image, shear=(0, 0.3 * strength)),
    Operation.TRANSLATE_X: lambda image, strength, size: moved(image, translate=(round(0.45 * strength * size), 0)),
    Operation.TRANSLATE_Y: lambda image, strength, size: moved(image, translate=(0, round(0.45 * strength * size))),
}


def difference(first: Tensor, second: Tensor) -> Tensor:
    return (first.int() - second.int()).abs()


@pytest.mark.parametrize("size", [1, 2, 13, 32, 65])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", COLORS, ids=lambda operation: operation.name)
def test_color_operations_equal_torchvisions_within_one_gray_level(operation, channels, size):
    pixels = images(len(STRENGTHS) * 3, channels, size)
    strengths = np.repeat(STRENGTHS, 3)
    seen = applied(pixels, operation, strengths)
    expected = torch.stack([COLORS[operation](*each) for each in zip(pixels, strengths.tolist(), strict=True)])
    assert seen.dtype is torch.uint8
    assert seen.shape == pixels.shape
    assert difference(seen, expected).max() <= 1


@pytest.mark.parametrize("size", [1, 2, 13, 32, 65])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", MOVES, ids=lambda operation: operation.name)
def test_moves_equal_torchvisions_on_a_gray_background(operation, channels, size):
    """torchvision darkens the pixels along the edge of the image by counting the background's black twice, except within
    a larger image of the background."""
    pixels = images(len(STRENGTHS) * 3, channels, size)
    strengths = np.repeat(STRENGTHS, 3)
    seen = applied(pixels, operation, strengths)
    large = functional.pad(pixels, [size] * 4, value=GRAY)
    pairs = list(zip(pixels, large, strengths.tolist(), strict=True))
    expected = torch.stack([MOVES[operation](each, strength, size) for _, each, strength in pairs])
    assert difference(seen, expected[..., size : 2 * size, size : 2 * size]).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [13, 77])
def test_an_image_does_not_depend_on_the_others_of_its_batch(channels, size):
    """Rows end within a CPU's vectors, and 64 images of 77 pixels in three channels are two pieces."""
    pixels = images(64, channels, size)
    generator = np.random.default_rng(0)
    operations, strengths = generator.permutation(np.arange(64) % len(Operation)), generator.uniform(-1, 1, 64)
    together = build_layer(64, np.arange(64), operations, strengths, size).apply(pixels)
    order = generator.permutation(64)
    shuffled = build_layer(64, np.arange(64), operations[order], strengths[order], size).apply(pixels[order])
    assert torch.equal(shuffled, together[order])
    for position in range(64):
        alone = build_layer(1, np.arange(1), operations[[position]], strengths[[position]], size)
        assert torch.equal(alone.apply(pixels[[position]])[0], together[position])
    for position in range(len(Operation)):
        alike = np.full(64, operations[position]), np.full(64, strengths[position])
        assert torch.equal(build_layer(64, np.arange(64), *alike, size).apply(pixels)[position], together[position])


def test_layers_draw_every_operation_equally_often_and_strengths_around_the_magnitude():
    count = 30_000
    [layer] = draw_layers(RandAugment(layers=1, magnitude=5, magnitude_std=1), Draws(0, 0, np.arange(count)), 224)
    assert abs(len(layer.positions) / count - 0.5) < 0.02
    per_operation = len(layer.positions) / len(Operation)
    assert np.allclose(np.array(layer.counts) / per_operation, [5, 1, 1, 1, 1, 1, 5], rtol=0.1)
    # Both signs of 0.9 times the strength, which is half of the largest with a standard deviation of a tenth.
    factors = (layer.factors[:, 0].double() - 1) / 0.9
    assert abs((factors > 0).double().mean() - 0.5) < 0.03
    assert abs(factors.abs().mean() - 0.5) < 0.01
    assert abs(factors.abs().std() - 0.1) < 0.01
    assert (layer.factors.sum(1) - 1).abs().max() < 1e-6
