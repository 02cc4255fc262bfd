"""The layers of RandAugment: random operations, applied to the images of a batch in groups of equal operations."""

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttm_core.data.views.draws import Draws, Stream
from ttm_core.data.views.pieces import in_pieces
from ttm_core.data.views.rand_augment.color import color, sharpness
from ttm_core.data.views.rand_augment.geometry import Matrix, fixed_point, resample, rotation, shear, translation
from ttm_core.data.views.rand_augment.tables import autocontrast_tables, contrast_tables, equalize_tables, look_up
from ttm_core.spec.dataset import RandAugment


class Operation(IntEnum):
    """The paper's operations, in the order of the draws."""

    AUTOCONTRAST = 0
    EQUALIZE = 1
    INVERT = 2
    ROTATE = 3
    POSTERIZE = 4
    SOLARIZE = 5
    SOLARIZE_ADD = 6
    COLOR = 7
    CONTRAST = 8
    BRIGHTNESS = 9
    SHARPNESS = 10
    SHEAR_X = 11
    SHEAR_Y = 12
    TRANSLATE_X = 13
    TRANSLATE_Y = 14


# Operations that are computed together. The first group maps gray levels regardless of the image.
_FIXED = (Operation.INVERT, Operation.POSTERIZE, Operation.SOLARIZE, Operation.SOLARIZE_ADD, Operation.BRIGHTNESS)
_BLENDS = (Operation.CONTRAST, Operation.COLOR, Operation.SHARPNESS)
_MOVES = (Operation.ROTATE, Operation.SHEAR_X, Operation.SHEAR_Y, Operation.TRANSLATE_X, Operation.TRANSLATE_Y)
_GROUPS = (_FIXED, (Operation.AUTOCONTRAST,), (Operation.EQUALIZE,), *((each,) for each in _BLENDS), _MOVES)
_GROUP_OF = np.array([next(n for n, group in enumerate(_GROUPS) if each in group) for each in Operation])


@dataclass(frozen=True)
class Layer:
    """One operation each for M of the images of a batch, sorted by group. Operations without a strength ignore it."""

    positions: Tensor  # int64 [M] in the batch of B images
    sources: Tensor  # int64 [B] for each image of the result, its place among the B images and the M changed ones
    counts: tuple[int, ...]  # images in each group
    tables: Tensor  # uint8 [F, 256] the new gray levels of the images of the first group
    factors: Tensor  # float32 [K, 2] r and 1 - r of the images that are blended: r * image + (1 - r) * other
    matrices: Tensor  # int64 [A, 6] of the images of the last group, see `fixed_point`

    def apply(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] -> uint8 [B, C, H, W]. An image's result does not depend on the others."""
        if not len(self.positions):
            return pixels
        fixed, stretched, equalized, *blended, moved = self.counts
        contrasted, colored, sharpened = self.factors.split(blended)
        mapped = fixed + stretched + equalized + len(contrasted)
        chosen = pixels.index_select(0, self.positions)
        to_map, to_color, to_sharpen, to_move = chosen.split((mapped, len(colored), len(sharpened), moved))
        changed = [
            self._mapped(to_map, contrasted),
            in_pieces(color, to_color, colored) if len(colored) else to_color,
            in_pieces(sharpness, to_sharpen, sharpened) if len(sharpened) else to_sharpen,
            in_pieces(resample, to_move, self.matrices) if moved else to_move,
        ]
        # Selecting whole images is many times as fast on a CPU as writing some of them into a copy.
        return torch.cat([pixels, *changed]).index_select(0, self.sources)

    def _mapped(self, pixels: Tensor, factors: Tensor) -> Tensor:
        """The images of the groups whose operations map the gray levels of each channel."""
        if not len(pixels):
            return pixels
        _, stretched, equalized, contrasted = pixels.split((*self.counts[:3], len(factors)))
        tables = [self.tables[:, None].expand(-1, pixels.shape[1], -1)]
        if len(stretched):
            tables.append(autocontrast_tables(stretched))
        if len(equalized):
            tables.append(in_pieces(equalize_tables, equalized))
        if len(contrasted):
            tables.append(in_pieces(contrast_tables, contrasted, factors))
        return in_pieces(look_up, pixels, torch.cat(tables))


def draw_layers(spec: RandAugment, draws: Draws, size: int) -> tuple[Layer, ...]:
    """Draws the operations of views of `size` pixels."""
    layers = []
    drawn = draws.uniforms(*range(Stream.RAND_AUGMENT, Stream.RAND_AUGMENT + 4 * spec.layers))
    for apply, choice, sign, deviation in drawn.reshape(spec.layers, 4, -1):
        positions = (apply < spec.probability).nonzero()[0]
        operations = (choice[positions] * len(Operation)).astype(np.int64)
        normal = torch.special.ndtri(torch.from_numpy(np.clip(deviation, 2.0**-53, None))).numpy()
        strength = np.clip(spec.magnitude + normal * spec.magnitude_std, 0, 10) / 10 * np.where(sign < 0.5, -1.0, 1.0)
        layers.append(build_layer(len(draws.indices), positions, operations, strength[positions], size))
    return tuple(layers)


def build_layer(
    images: int, positions: NDArray[np.int64], operations: NDArray[np.int64], strengths: NDArray[np.float64], size: int
) -> Layer:
    """A layer that applies operation `operations[i]` with `strengths[i]`, in [-1, 1], to image `positions[i]`.

    The ranges are those of timm's "increasing" variant, in which a higher magnitude is always a stronger change.
    """
    order = np.argsort(_GROUP_OF[operations], kind="stable")
    positions, operations, strengths = positions[order], operations[order], strengths[order]
    sources = np.arange(images)
    sources[positions] = images + np.arange(len(positions))
    counts = np.bincount(_GROUP_OF[operations], minlength=len(_GROUPS))
    fixed, mapped, unmoved = counts[0], counts[:3].sum(), counts[:-1].sum()
    moved = zip(operations[unmoved:].tolist(), strengths[unmoved:].tolist(), strict=True)
    return Layer(
        positions=torch.from_numpy(positions),
        sources=torch.from_numpy(sources),
        counts=tuple(counts.tolist()),
        tables=torch.from_numpy(_fixed_tables(operations[:fixed], strengths[:fixed])),
        factors=_factors(strengths[mapped:unmoved]),
        matrices=fixed_point([_matrix(operation, strength, size) for operation, strength in moved], size),
    )


def _factors(strengths: NDArray[np.float64]) -> Tensor:
    factor = 1 + 0.9 * strengths
    return torch.from_numpy(np.stack([factor, 1 - factor], axis=1).astype(np.float32))


def _fixed_tables(operations: NDArray[np.int64], strengths: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The new gray levels of images: uint8 [F, 256]."""
    levels, tables = np.arange(256), np.empty((len(operations), 256), np.uint8)
    for operation in _FIXED:
        rows = operations == operation
        strength = strengths[rows, None]
        share = np.abs(strength)
        match operation:
            case Operation.INVERT:
                tables[rows] = 255 - levels
            case Operation.POSTERIZE:
                tables[rows] = levels & (255 << (4 + np.minimum((4 * share).astype(np.int64), 3)))
            case Operation.SOLARIZE:
                threshold = 256 - np.minimum((256 * share).astype(np.int64), 256)
                tables[rows] = np.where(levels >= threshold, 255 - levels, levels)
            case Operation.SOLARIZE_ADD:
                tables[rows] = np.where(levels < 128, levels + np.minimum((110 * share).astype(np.int64), 110), levels)
            case Operation.BRIGHTNESS:
                factor = (1 + 0.9 * strength).astype(np.float32)
                tables[rows] = np.minimum(levels.astype(np.float32) * factor, 255)
    return tables


def _matrix(operation: int, strength: float, size: int) -> Matrix:
    """The map from places in the result to places in the image, relative to the center."""
    match operation:
        case Operation.ROTATE:
            return rotation(math.radians(30 * strength))
        case Operation.SHEAR_X:
            return shear(across=0.3 * strength)
        case Operation.SHEAR_Y:
            return shear(down=0.3 * strength)
        case Operation.TRANSLATE_X:
            return translation(across=round(0.45 * strength * size))
        case Operation.TRANSLATE_Y:
            return translation(down=round(0.45 * strength * size))
    raise AssertionError(f"{Operation(operation).name} moves no pixels")
