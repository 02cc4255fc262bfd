"""Builds feature losses. Feature losses are registered here."""

import math
from typing import assert_never

import torch
from torch import Tensor, nn

from ttm_core import losses
from ttm_core.data.dataset import Split
from ttm_core.data.formats.layout import NO_LABEL
from ttm_core.errors import BadSpec
from ttm_core.methods.outputs import Outputs
from ttm_core.spec.method.features import (
    ContrastiveRepresentation,
    FeatureSpec,
    InformationTheoreticRepresentation,
    TransformerFeatures,
)
from ttm_core.transfer import copied_to


class FeatureLoss(nn.Module):
    """A loss on features. Checkpoints contain its parameters and memories."""

    def forward(self, student: Outputs, teacher: Outputs, images: Tensor, generator: torch.Generator) -> Tensor:
        """Computes the loss of a batch: a scalar.

        Args:
            student: outputs with the features the spec requires.
            teacher: outputs for the same views.
            images: int64 [B] indices of the images in the dataset.
            generator: on the CPU, with a state that depends only on the step.
        """
        raise NotImplementedError


def build_feature_loss(spec: FeatureSpec, student: Outputs, teacher: Outputs, split: Split) -> FeatureLoss:
    """Builds the feature loss for models with outputs like `student` and `teacher`.

    Raises:
        BadSpec: the features of the two models do not match, or the data has one class only.
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
        # Positions of the dataset's images in the training split.
        positions = torch.zeros(len(split.images), dtype=torch.int64)
        positions[indices] = torch.arange(len(split))
        self._positions = positions  # stays on the CPU
        labels = split.labels[indices]
        # An image without a label is a class of its own, as in Tian et al.
        alone = int(labels.max()) + 1 + torch.arange(len(split))
        classes = torch.where(labels == NO_LABEL, alone, labels)
        try:
            self.sampler = losses.NegativeSampler(classes, spec.negatives)
        except ValueError as error:
            raise BadSpec(f"crd: {error}") from error

    def forward(self, student: Outputs, teacher: Outputs, images: Tensor, generator: torch.Generator) -> Tensor:
        # Drawn on the CPU, where the state of the generator depends only on the step.
        positions = self._positions[images]
        negatives = self.sampler.draw(positions, generator)
        device = student.logits.device
        return self.loss(
            *student.features, *teacher.features, copied_to(device, positions), copied_to(device, negatives)
        )


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
        return self.loss(student.features, teacher.features, copied_to(student.logits.device, masked))


def _same_square_grid(student: Outputs, teacher: Outputs) -> None:
    student_tokens, teacher_tokens = (model.features[-1].shape[1] for model in (student, teacher))
    if student_tokens != teacher_tokens or math.isqrt(student_tokens) ** 2 != student_tokens:
        raise BadSpec(
            f"vitkd requires equal square grids of tokens, but the student has {student_tokens} tokens and the teacher "
            f"{teacher_tokens}. Choose image and patch sizes that give the same grid."
        )
