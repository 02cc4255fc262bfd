"""A view of an image is a pure function of (augmentation, seed, image, view number).

It does not depend on the worker, the batch, the order or the time. This makes resumed runs bit-identical and stored
teacher logits reusable. The partner of a mixed image is drawn from the image's own key.
"""

from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray

from ttm_core.data.dataset import Split
from ttm_core.data.images import Images
from ttm_core.data.views.crops import crop_flip, crop_flip_codes, crop_flip_count, resized_crop
from ttm_core.data.views.draws import Draws
from ttm_core.data.views.erasing import erase
from ttm_core.data.views.mixing import Mixture, draw_mixture
from ttm_core.data.views.rand_augment import rand_augment
from ttm_core.spec.dataset import AugmentationSpec, CropFlip, NoAugmentation, ResizedCrop


@dataclass(frozen=True)
class Views:
    """The augmented views of a split's images at one size."""

    split: Split
    num_classes: int
    augmentation: AugmentationSpec
    size: int
    seed: int

    @property
    def images(self) -> Images:
        return self.split.images

    def batch(self, indices: NDArray[np.int64], view: int) -> torch.Tensor:
        """View number `view` of each image: uint8 [B, C, size, size]."""
        pixels = self._unmixed(indices, view)
        mixture = self._mixture(indices, view)
        if mixture is None:
            return pixels
        partners = np.unique(mixture.partners[mixture.mixed])
        if not len(partners):
            return pixels
        partner_pixels = self._unmixed(partners, view)
        row_of = np.searchsorted(partners, mixture.partners).clip(max=len(partners) - 1)
        return mixture.pixels(pixels, partner_pixels, row_of)

    def targets(self, indices: NDArray[np.int64], view: int) -> torch.Tensor:
        """The labels of views: int64 [B] classes, or float32 [B, K] class distributions for mixed views."""
        labels = self.split.labels
        own = labels[torch.from_numpy(indices)]
        mixture = self._mixture(indices, view)
        if mixture is None or not self.split.labelled:
            return own
        # An image without a label has a partner without a label, and a distribution of zeros.
        return mixture.targets(own, labels[torch.from_numpy(mixture.partners)], self.num_classes)

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

    def _unmixed(self, indices: NDArray[np.int64], view: int) -> torch.Tensor:
        """The views before mixing."""
        draws = Draws(self.seed, view, indices)
        match self.augmentation:
            case NoAugmentation():
                return self.images.center_squares(indices, self.size)
            case CropFlip():
                pixels = crop_flip(self.images, self.augmentation, self.size, draws)
            case ResizedCrop():
                pixels = resized_crop(self.images, self.augmentation, self.size, draws)
            case _:
                assert_never(self.augmentation)
        if self.augmentation.rand_augment is not None:
            pixels = rand_augment(pixels, self.augmentation.rand_augment, draws)
        if self.augmentation.erasing is not None:
            pixels = erase(pixels, self.augmentation.erasing, draws)
        return pixels

    def _mixture(self, indices: NDArray[np.int64], view: int) -> Mixture | None:
        if isinstance(self.augmentation, NoAugmentation) or self.augmentation.mix is None:
            return None
        return draw_mixture(self.augmentation.mix, self.split, self.size, Draws(self.seed, view, indices))
