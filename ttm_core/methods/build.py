"""Builds the loss of a method. Methods are registered here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional

from ttm_core import losses
from ttm_core.data.batches import labelled_share
from ttm_core.data.dataset import Split
from ttm_core.data.formats.layout import NO_LABEL
from ttm_core.data.random import seed as derived_seed
from ttm_core.methods.feature_losses import FeatureLoss, build_feature_loss
from ttm_core.methods.outputs import Outputs, probe
from ttm_core.methods.relations import transport_costs
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.load import Teacher
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.method.methods import (
    CorrelationDistillation,
    CrossEntropy,
    DecoupledDistillation,
    KnowledgeDistillation,
    MethodSpec,
    NormalizedDistillation,
    TransformedTeacherMatching,
    WassersteinDistillation,
    WeightedTransformedTeacherMatching,
)
from ttm_core.spec.method.requirements import Features
from ttm_core.spec.method.schedules import Ramp, at

_INIT_SEED = 302  # random stream of the initial weights and memories of feature losses

Terms = Mapping[str, Tensor]
"""Weighted scalar loss terms by name; their sum is the loss."""


@dataclass(frozen=True)
class StepContext:
    """The epoch and random generator of a step."""

    epoch: float  # epochs since the start, fractional
    generator: torch.Generator  # on the CPU, with a state that depends only on the step


class Objective(nn.Module):
    """The loss of a method. Its state contains the parameters and memories of the feature loss.

    Args:
        spec: the method.
        epochs: number of epochs of the run.
        label_smoothing: share of each label that is distributed over all classes, in the cross-entropy.
        labelled_share: share of images with a label in the training batches. The cross-entropy is the sum over images
            with a label, divided by this share of the batch.
        feature_loss: the feature loss of the spec, if it has one.
        costs: [C, C], for WKD-L: costs of moving probability between classes.
    """

    costs: Tensor | None

    def __init__(
        self,
        spec: MethodSpec,
        *,
        epochs: int,
        label_smoothing: float = 0.0,
        labelled_share: float = 1.0,
        feature_loss: FeatureLoss | None = None,
        costs: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.epochs = epochs
        self.label_smoothing = label_smoothing
        self.labelled_share = labelled_share
        self.features: Features = spec.requirements.features
        self.feature_loss = feature_loss
        self.register_buffer("costs", costs, persistent=False)

    def forward(
        self, student: Outputs, teacher: Outputs | None, labels: Tensor, images: Tensor, context: StepContext
    ) -> Terms:
        """Computes the loss terms of a batch by name.

        Args:
            student: outputs with the features the spec requires.
            teacher: outputs for the same views; None for a method without a teacher.
            labels: int64 [B] classes, or [B, C] distributions for mixed images. NO_LABEL or zeros for images without a
                label.
            images: int64 [B] indices of the images in the dataset.
            context: of the step.
        """
        if isinstance(self.spec, CrossEntropy):
            return self._cross_entropy(student.logits, labels, 1.0)
        assert teacher is not None, "the spec guarantees a teacher for every method but ce"
        terms = {
            **self._cross_entropy(student.logits, labels, self.spec.ce_weight),
            self.spec.kind: self._logit_term(student.logits, teacher.logits, labels, context),
        }
        if self.spec.features is not None:
            assert self.feature_loss is not None
            term = self.feature_loss(student, teacher, images, context.generator)
            terms[self.spec.features.kind] = self.spec.features.weight * term
        return terms

    def temperature(self, context: StepContext) -> float:
        """The temperature of the teacher's logits at a step."""
        return method_temperature(self.spec, context.epoch, self.epochs)

    def _cross_entropy(self, logits: Tensor, labels: Tensor, weight: float) -> dict[str, Tensor]:
        if not weight:
            return {}
        smoothing = self.label_smoothing
        if self.labelled_share == 1:
            return {"ce": weight * functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)}
        # A mean over the labelled images of each part of a batch would weight images by their part.
        images = self.labelled_share * len(logits)
        if labels.ndim == 1:
            total = functional.cross_entropy(
                logits.float(), labels, ignore_index=NO_LABEL, label_smoothing=smoothing, reduction="sum"
            )
        else:
            each = functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing, reduction="none")
            total = (each * (labels.sum(1) > 0)).sum()  # smoothing gives rows of zeros a distribution
        return {"ce": weight * total / images}

    def _logit_term(self, z: Tensor, v: Tensor, labels: Tensor, context: StepContext) -> Tensor:
        """The weighted loss of student logits z [B, C] against teacher logits v [B, C]."""
        spec = self.spec
        assert not isinstance(spec, CrossEntropy)
        if spec.logit_standardization:
            z, v = losses.standardize_logits(z), losses.standardize_logits(v)

        def now(value: float | Ramp | None) -> float:
            assert value is not None, "the engine resolves default weights"
            return at(value, context.epoch, self.epochs)

        match spec:
            case KnowledgeDistillation():
                return now(spec.kd_weight) * losses.kd(z, v, temperature=1 / now(spec.gamma))
            case TransformedTeacherMatching():
                return now(spec.beta) * losses.ttm(z, v, gamma=now(spec.gamma))
            case WeightedTransformedTeacherMatching():
                return now(spec.beta) * losses.wttm(z, v, gamma=now(spec.gamma))
            case DecoupledDistillation():
                return now(spec.weight) * losses.dkd(
                    z, v, labels, alpha=spec.alpha, beta=now(spec.beta), temperature=spec.temperature
                )
            case CorrelationDistillation():
                return now(spec.weight) * losses.dist(
                    z,
                    v,
                    inter_weight=spec.inter_weight,
                    intra_weight=spec.intra_weight,
                    temperature=spec.temperature,
                )
            case NormalizedDistillation():
                # The published code uses the class with the largest share of a mixed image.
                classes = labels.argmax(1) if labels.ndim == 2 else labels
                return now(spec.weight) * losses.nkd(
                    z, v, classes, gamma=spec.non_target_weight, temperature=spec.temperature
                )
            case WassersteinDistillation():
                assert self.costs is not None
                return losses.wkd_l(
                    z,
                    v,
                    labels,
                    costs=self.costs,
                    weight=now(spec.weight),
                    temperature=spec.temperature,
                    regularization=spec.regularization,
                    iterations=spec.iterations,
                )
            case _:
                assert_never(spec)


def method_temperature(spec: MethodSpec, epoch: float, epochs: int) -> float:
    """The temperature of the teacher's logits, at which the distributions of several teachers are averaged."""
    match spec:
        case CrossEntropy():
            return 1.0
        case KnowledgeDistillation() | TransformedTeacherMatching() | WeightedTransformedTeacherMatching():
            return 1 / at(spec.gamma, epoch, epochs)
        case _:
            return spec.temperature


def build_objective(
    spec: DistillSpec, *, student: nn.Module, preprocess: Preprocess, teacher: Teacher | None, split: Split
) -> Objective:
    """Builds the objective of a run on the CPU.

    Args:
        spec: the run.
        student: the student.
        preprocess: preprocessing of the student's input.
        teacher: None for a method without a teacher.
        split: the training images.

    Raises:
        BadSpec: the teacher, the student or the data does not meet the requirements of the method.
    """
    method, training = spec.method, spec.training
    feature_loss, costs = None, None
    if not isinstance(method, CrossEntropy):
        assert teacher is not None, "the spec guarantees a teacher for every method but ce"
        if method.features is not None:
            features = method.requirements.features
            probed = (
                probe(student, preprocess, features, spec.student.architecture or "the student"),
                probe(teacher.model, teacher.preprocess, features, teacher.architecture),
            )
            torch.manual_seed(derived_seed(_INIT_SEED, training.seed))
            feature_loss = build_feature_loss(method.features, *probed, split)
        if isinstance(method, WassersteinDistillation):
            costs = transport_costs(method, teacher, split, size=preprocess.image_size)
    return Objective(
        method,
        epochs=training.epoch_count,
        label_smoothing=training.label_smoothing,
        labelled_share=labelled_share(split, training.unlabelled_ratio) if split.labelled else 1.0,
        feature_loss=feature_loss,
        costs=costs,
    )
