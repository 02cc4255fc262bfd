"""Mixed views: mixup (Zhang et al. 2018, arXiv 1710.09412) and CutMix (Yun et al. 2019, arXiv 1905.04899)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ttm_core.data.dataset import Split
from ttm_core.data.formats.layout import NO_LABEL
from ttm_core.data.views.draws import Draws, Stream
from ttm_core.data.views.pieces import in_pieces
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

    def partner_rows(self) -> tuple[NDArray[np.int64], "PartnerRows"]:
        """The images to make views of, in addition to the own ones, and how to mix them."""
        partners = np.unique(self.partners[self.mixed])
        rows = np.searchsorted(partners, self.partners)
        blended, cut = (self.mixed & ~self.cut).nonzero()[0], (self.mixed & self.cut).nonzero()[0]
        sources = np.arange(len(self.partners))
        sources[blended] = len(sources) + np.arange(len(blended))
        sources[cut] = len(sources) + len(blended) + np.arange(len(cut))
        return partners, PartnerRows(
            blended=torch.from_numpy(blended),
            blended_rows=torch.from_numpy(rows[blended]),
            shares=torch.from_numpy(self.share[blended]).float(),
            cut=torch.from_numpy(cut),
            cut_rows=torch.from_numpy(rows[cut]),
            boxes=torch.from_numpy(self.boxes[cut]),
            sources=torch.from_numpy(sources),
        )

    def targets(self, own: Tensor, partners: Tensor, classes: int) -> Tensor:
        """The mixed labels float32 [B, classes] from int64 [B] classes of the images and of their partners."""
        share = torch.from_numpy(self.share).float()[:, None]
        return share * _one_hot(own, classes) + (1 - share) * _one_hot(partners, classes)


@dataclass(frozen=True)
class PartnerRows:
    """How B views are mixed with the views of P partners."""

    blended: Tensor  # int64 [M] positions in the batch, for mixup
    blended_rows: Tensor  # int64 [M] their partners among the P
    shares: Tensor  # float32 [M] of the own view
    cut: Tensor  # int64 [N] positions in the batch, for CutMix
    cut_rows: Tensor  # int64 [N] their partners among the P
    boxes: Tensor  # int64 [N, 4] top, bottom, left, right of the partner's patch
    sources: Tensor  # int64 [B] for each view of the result, its place among the B own, the M and the N mixed views

    def apply(self, own: Tensor, partners: Tensor) -> Tensor:
        """Mixes views uint8 [B, C, S, S] with views uint8 [P, C, S, S] of their partners: uint8 [B, C, S, S]."""
        parts = [own]
        for function, positions, rows, parameters in (
            (_blend, self.blended, self.blended_rows, self.shares),
            (_paste, self.cut, self.cut_rows, self.boxes),
        ):
            if not len(positions):
                continue
            whole = len(positions) == len(own)  # in order, because positions increase
            chosen = own if whole else own.index_select(0, positions)
            parts.append(in_pieces(function, chosen, partners.index_select(0, rows), parameters))
            if whole:
                return parts[-1]
        return torch.cat(parts).index_select(0, self.sources)


def _blend(own: Tensor, partners: Tensor, shares: Tensor) -> Tensor:
    """Blends views with the shares float32 [M] of the own ones."""
    share = shares[:, None, None, None]
    # Operations that are rounded once each; a fused one rounds differently in parts of a CPU's vectors.
    return (own * share).add_(partners * (1 - share)).round_().to(torch.uint8)


def _paste(own: Tensor, partners: Tensor, boxes: Tensor) -> Tensor:
    """Pastes the patches in int64 [N, 4] of partners. A CPU selects bits in vectors, but not pixels."""
    top, bottom, left, right = boxes[:, :, None].unbind(1)
    places = torch.arange(own.shape[-1], device=own.device)
    rows, columns = (places >= top) & (places < bottom), (places >= left) & (places < right)
    patch = (rows[:, None, :, None] & columns[:, None, None, :]).to(torch.uint8).mul_(255)
    return (own ^ partners).bitwise_and_(patch).bitwise_xor_(own)


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    """int64 [B] -> [B, classes]; a row of zeros for an image without a label."""
    return functional.one_hot(labels.clamp_min(0), classes) * (labels != NO_LABEL)[:, None]


def draw_mixture(spec: Mixing, split: Split, size: int, draws: Draws) -> Mixture:
    """Draws the mixing of a view. Partners are images of the split: with a label for images with a label, without for
    the others.

    Each image has its own partner and share. One share per batch, as in batch-wise code, would make views depend on
    their batch.
    """
    from scipy.special import betaincinv  # takes a third of a second, and few runs mix images

    mix, kind, chance, row, column = draws.uniforms(
        Stream.MIX, Stream.MIX_KIND, Stream.MIX_SHARE, Stream.MIX_ROW, Stream.MIX_COLUMN
    )
    mixed, cut = mix < spec.probability, kind < spec.cutmix_share
    # The inverse CDF of the Beta distribution turns one uniform number into one draw.
    alphas = np.where(cut, spec.cutmix_alpha or 1.0, spec.mixup_alpha or 1.0)
    share = np.where(mixed, betaincinv(alphas, alphas, chance), 1.0)

    # CutMix: a patch with the aspect ratio of the image and 1 - share of its area, around a random point.
    side = np.sqrt(1 - share) * size / 2
    row, column = row * size, column * size
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
