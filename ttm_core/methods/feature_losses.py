"""From a FeatureSpec to its loss on features: the one place to register a feature feature_loss."""

import math
from typing import assert_never

import torch
from torch import Tensor, nn

from ttm_core import losses
from ttm_core.data.dataset import Split
from ttm_core.errors import BadSpec
from ttm_core.methods.outputs import Outputs
from ttm_core.spec.method.features import (
    ContrastiveRepresentation,
    FeatureSpec,
    InformationTheoreticRepresentation,
    TransformerFeatures,
)


class FeatureLoss(nn.Module):
    """A loss on features. What it learns or remembers is its state, and goes into checkpoints."""

    def forward(self, student: Outputs, teacher: Outputs, images: Tensor, generator: torch.Generator) -> Tensor:
        """A scalar.

        Args:
            student: with the features that the feature_loss's spec asks for.
            teacher: the same, of the same views.
            images: int64 [B] numbers of the images in the dataset.
            generator: on the CPU, in a state that depends on the step alone.
        """
        raise NotImplementedError


def build_feature_loss(spec: FeatureSpec, student: Outputs, teacher: Outputs, split: Split) -> FeatureLoss:
    """The feature_loss for models with outputs like `student` and `teacher`, freshly initialized.

    Raises BadSpec where the two models' features do not match.
    """
    widths = student.features[-1].shape[-1], teacher.features[-1].shape[-1]
    match spec:
        case ContrastiveRepresentation():
            return _Contrast(spec, *widths, split)
        case InformationTheoreticRepresentation():
            return _Correlate(spec, *widths)
        case TransformerFeatures():
            _same_square_grid(student, teacher)
            return _Tokens(spec, *widths)
        case _:
            assert_never(spec)


class _Contrast(FeatureLoss):
    places: Tensor

    def __init__(self, spec: ContrastiveRepresentation, student_dim: int, teacher_dim: int, split: Split) -> None:
        super().__init__()
        self.loss = losses.Crd(
            student_dim,
            teacher_dim,
            len(split),
            dim=spec.dim,
            temperature=spec.temperature,
            momentum=spec.momentum,
        )
        indices = torch.from_numpy(split.indices)
        # An image's place among the training images, which are some of the dataset's.
        places = torch.zeros(len(split.images), dtype=torch.int64)
        places[indices] = torch.arange(len(split))
        self.register_buffer("places", places, persistent=False)
        # Without labels each image is told from every other one, as Tian et al. do with none at hand.
        classes = split.labels[indices] if split.labelled else torch.arange(len(split))
        try:
            self.sampler = losses.NegativeSampler(classes, spec.negatives)
        except ValueError as error:
            raise BadSpec(f"crd: {error}") from error

    def forward(self, student: Outputs, teacher: Outputs, images: Tensor, generator: torch.Generator) -> Tensor:
        places = self.places[images.to(self.places.device)]
        negatives = self.sampler.draw(places.cpu(), generator).to(places.device)
        return self.loss(*student.features, *teacher.features, places, negatives)


class _Correlate(FeatureLoss):
    def __init__(self, spec: InformationTheoreticRepresentation, student_dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.loss = losses.Itrd(
            student_dim,
            teacher_dim,
            alpha=spec.alpha,
            beta_correlation=spec.beta_correlation,
            beta_mutual=spec.beta_mutual,
        )

    def forward(self, student: Outputs, teacher: Outputs, images: Tensor, generator: torch.Generator) -> Tensor:
        return self.loss(*student.features, *teacher.features)


class _Tokens(FeatureLoss):
    def __init__(self, spec: TransformerFeatures, student_dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.mask_ratio = spec.mask_ratio
        self.loss = losses.VitKd(student_dim, teacher_dim, alpha=spec.alpha, beta=spec.beta, mask_ratio=spec.mask_ratio)

    def forward(self, student: Outputs, teacher: Outputs, images: Tensor, generator: torch.Generator) -> Tensor:
        batch, tokens, _ = student.features[-1].shape
        masked = losses.random_token_mask(batch, tokens, ratio=self.mask_ratio, generator=generator)
        return self.loss(student.features, teacher.features, masked.to(student.logits.device))


def _same_square_grid(student: Outputs, teacher: Outputs) -> None:
    own, given = (model.features[-1].shape[1] for model in (student, teacher))
    if own != given or math.isqrt(own) ** 2 != own:
        raise BadSpec(
            f"vitkd matches a square grid of tokens, but the student has {own} tokens and the teacher {given}: "
            "choose image sizes and patch sizes that give the same grid"
        )
