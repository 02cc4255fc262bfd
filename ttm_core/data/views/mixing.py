"""Mixed views: mixup (Zhang et al. 2018, arXiv 1710.09412) and CutMix (Yun et al. 2019, arXiv 1905.04899)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv
from torch.nn import functional

from ttm_core.data.dataset import Split
from ttm_core.data.formats.layout import NO_LABEL
from ttm_core.data.views.draws import Draws, Stream
from ttm_core.spec.dataset import Mixing


@dataclass(frozen=True)
class Mixture:
    """The mixing of B views, each with the same view of another image."""

    partners: NDArray[np.int64]  # [B] indices of images
    share: NDArray[np.float64]  # [B] share of the image's own view; 1 where nothing is mixed
    boxes: NDArray[np.int64]  # [B, 4] top, bottom, left, right of the partner's patch
    cut: NDArray[np.bool_]  # [B] True for CutMix (a patch of the partner), False for mixup (a blend)

    @property
    def mixed(self) -> NDArray[np.bool_]:
        """[B] True where the view contains a part of the partner."""
        return self.share < 1

    def pixels(self, own: torch.Tensor, partners: torch.Tensor, row_of: NDArray[np.int64]) -> torch.Tensor:
        """Mixes views uint8 [B, C, S, S] with the rows `row_of` [B] of the partners' views uint8 [P, C, S, S]."""
        mixed = own.clone()
        blends = torch.from_numpy((self.mixed & ~self.cut).nonzero()[0])
        if len(blends):
            share = torch.from_numpy(self.share).float()[blends, None, None, None]
            partner = partners[torch.from_numpy(row_of)[blends]].float()
            mixed[blends] = (own[blends].float() * share + partner * (1 - share)).round().to(torch.uint8)
        for i in (self.mixed & self.cut).nonzero()[0]:
            top, bottom, left, right = self.boxes[i]
            mixed[i, :, top:bottom, left:right] = partners[row_of[i], :, top:bottom, left:right]
        return mixed

    def targets(self, own: torch.Tensor, partners: torch.Tensor, classes: int) -> torch.Tensor:
        """The mixed labels float32 [B, classes] from int64 [B] classes of the images and of their partners."""
        share = torch.from_numpy(self.share).float()[:, None]
        return share * _one_hot(own, classes) + (1 - share) * _one_hot(partners, classes)


def _one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """int64 [B] -> [B, classes]; a row of zeros for an image without a label."""
    return functional.one_hot(labels.clamp_min(0), classes) * (labels != NO_LABEL)[:, None]


def draw_mixture(spec: Mixing, split: Split, size: int, draws: Draws) -> Mixture:
    """Draws the mixing of a view. Partners are images of the split: with a label for images with a label, without for
    the others.

    Each image has its own partner and share. One share per batch, as in batch-wise code, would make views depend on
    their batch.
    """
    mixed = draws.uniform(Stream.MIX) < spec.probability
    cut = draws.uniform(Stream.MIX_KIND) < spec.cutmix_share
    chance = draws.uniform(Stream.MIX_SHARE)
    # The inverse CDF of the Beta distribution turns one uniform number into one draw.
    alphas = np.where(cut, spec.cutmix_alpha or 1.0, spec.mixup_alpha or 1.0)
    share = np.where(mixed, betaincinv(alphas, alphas, chance), 1.0)

    # CutMix: a patch with the aspect ratio of the image and 1 - share of its area, around a random point.
    side = np.sqrt(1 - share) * size / 2
    row, column = draws.uniform(Stream.MIX_ROW) * size, draws.uniform(Stream.MIX_COLUMN) * size
    edges = [row - side, row + side, column - side, column + side]
    boxes = np.stack([np.clip(np.rint(edge), 0, size).astype(np.int64) for edge in edges], axis=1)
    patch = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2]) / size**2
    return Mixture(
        partners=_partners(split, draws),
        share=np.where(cut & mixed, 1 - patch, share),
        boxes=boxes,
        cut=cut,
    )


def _partners(split: Split, draws: Draws) -> NDArray[np.int64]:
    """The image to mix with each image: [B]."""
    labelled, unlabelled = split.with_label.indices, split.without_label.indices
    if not len(labelled) or not len(unlabelled):
        return split.indices[draws.integers(Stream.MIX_PARTNER, len(split))]
    has_label = split.labels.numpy()[draws.indices] != NO_LABEL
    return np.where(
        has_label,
        labelled[draws.integers(Stream.MIX_PARTNER, len(labelled))],
        unlabelled[draws.integers(Stream.MIX_PARTNER, len(unlabelled))],
    )
