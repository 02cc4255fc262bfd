"""A view of an image is a pure function of (augmentation, seed, image, view number).

It does not depend on the worker, the batch, the order or the time. This makes resumed runs bit-identical and stored
teacher logits reusable. The partner of a mixed image is drawn from the image's own key.

A batch has two parts. `prepare` runs on the CPU, in any thread: it draws the random numbers, and decodes images that
are not on the device. `finish` computes the pixels on the device and never waits for it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttm_core.data.dataset import Split
from ttm_core.data.images import Images
from ttm_core.data.views.crops import Crops, crop_flip_codes, crop_flip_count, draw_crops, resized_crop
from ttm_core.data.views.draws import Draws
from ttm_core.data.views.erasing import Erasing, draw_erasing
from ttm_core.data.views.mixing import Mixture, PartnerRows, draw_mixture
from ttm_core.data.views.placement import resident_pixels
from ttm_core.data.views.rand_augment import Layer, draw_layers
from ttm_core.spec.dataset import AugmentationSpec, CropFlip, NoAugmentation, ResizedCrop
from ttm_core.transfer import stage

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class PreparedViews:
    """What a device needs to make B views, which are mixed with P further ones."""

    count: int  # B
    indices: Tensor | None  # int64 [B + P] of images on the device
    pixels: Tensor | None  # uint8 [B + P, C, S, S] without `indices`
    crops: Crops | None
    layers: tuple[Layer, ...]
    erasing: Erasing | None
    mixing: PartnerRows | None
    targets: Tensor  # int64 [B] classes, or float32 [B, K] class distributions for mixed views


@dataclass(frozen=True)
class Views:
    """The augmented views of a split's images at one size, made on one device."""

    split: Split
    num_classes: int
    augmentation: AugmentationSpec
    size: int
    seed: int
    device: torch.device = _CPU

    @property
    def images(self) -> Images:
        return self.split.images

    def batch(self, indices: NDArray[np.int64], view: int) -> Tensor:
        """View number `view` of each image: uint8 [B, C, size, size] on the device."""
        return self.finish(stage(self.prepare(indices, view), self.device)())

    def prepare(self, indices: NDArray[np.int64], view: int) -> PreparedViews:
        """The part of `batch` that the CPU computes, with the targets."""
        mixture = self._mixture(indices, view)
        targets = self._targets(indices, mixture)
        mixing, shown = None, indices
        if mixture is not None:
            partners, mixing = mixture.partner_rows()
            shown = np.concatenate([indices, partners])
        draws, augmentation = Draws(self.seed, view, shown), self.augmentation
        pixels: Tensor | None = None
        crops: Crops | None = None
        layers: tuple[Layer, ...] = ()
        erasing: Erasing | None = None
        if isinstance(augmentation, ResizedCrop):
            pixels = resized_crop(self.images, augmentation, self.size, draws)
        elif self._resident is None:
            pixels = self.images.center_squares(shown, self.size)
        if isinstance(augmentation, CropFlip):
            crops = draw_crops(augmentation, draws)
        if not isinstance(augmentation, NoAugmentation):
            if augmentation.rand_augment is not None:
                layers = draw_layers(augmentation.rand_augment, draws, self.size)
            if augmentation.erasing is not None:
                erasing = draw_erasing(augmentation.erasing, draws, self.images.channels, self.size)
        return PreparedViews(
            count=len(indices),
            indices=torch.from_numpy(shown) if pixels is None else None,
            pixels=pixels,
            crops=crops,
            layers=layers,
            erasing=erasing,
            mixing=mixing,
            targets=targets,
        )

    def finish(self, prepared: PreparedViews) -> Tensor:
        """The part of `batch` that the device computes, from tensors on the device: uint8 [B, C, size, size]."""
        pixels = prepared.pixels
        if prepared.indices is not None:
            assert self._resident is not None, "`prepare` names images by their index only if they are on the device"
            pixels = self._resident.index_select(0, prepared.indices)
        assert pixels is not None
        if prepared.crops is not None:
            pixels = prepared.crops.apply(pixels)
        for layer in prepared.layers:
            pixels = layer.apply(pixels)
        if prepared.erasing is not None:
            pixels = prepared.erasing.apply(pixels)
        if prepared.mixing is not None:
            pixels = prepared.mixing.apply(pixels[: prepared.count], pixels[prepared.count :])
        return pixels

    def targets(self, indices: NDArray[np.int64], view: int) -> Tensor:
        """The labels of views: int64 [B] classes, or float32 [B, K] class distributions for mixed views."""
        return self._targets(indices, self._mixture(indices, view))

    @property
    def distinct(self) -> int | None:
        """The number of distinct views of an image; None if there are too many for two views to be equal."""
        match self.augmentation:
            case NoAugmentation():
                return 1
            case CropFlip(rand_augment=None, erasing=None, mix=None):
                return crop_flip_count(self.augmentation)
            case _:
                return None

    def codes(self, indices: NDArray[np.int64], view: int) -> NDArray[np.int64]:
        """The index of each view among the `distinct` views of its image: int64 [B]. Equal codes mean equal pixels."""
        if isinstance(self.augmentation, NoAugmentation):
            return np.zeros(len(indices), np.int64)
        assert isinstance(self.augmentation, CropFlip), "called only if `distinct` is not None"
        return crop_flip_codes(self.augmentation, Draws(self.seed, view, indices))

    @cached_property
    def _resident(self) -> Tensor | None:
        """The images on the device, uint8 [N, C, size, size], if every view starts from a whole image."""
        if isinstance(self.augmentation, ResizedCrop):
            return None
        return resident_pixels(self.images, self.size, self.device)

    def _mixture(self, indices: NDArray[np.int64], view: int) -> Mixture | None:
        if isinstance(self.augmentation, NoAugmentation) or self.augmentation.mix is None:
            return None
        return draw_mixture(self.augmentation.mix, self.split, self.size, Draws(self.seed, view, indices))

    def _targets(self, indices: NDArray[np.int64], mixture: Mixture | None) -> Tensor:
        labels = self.split.labels
        own = labels[torch.from_numpy(indices)]
        if mixture is None or not self.split.labelled:
            return own
        # An image without a label has a partner without a label, and a distribution of zeros.
        return mixture.targets(own, labels[torch.from_numpy(mixture.partners)], self.num_classes)
