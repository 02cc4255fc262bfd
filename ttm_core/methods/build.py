"""From a MethodSpec to its loss terms: the one place to register a method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional

from ttm_core import losses
from ttm_core.data.dataset import Split
from ttm_core.data.random import seed as derived_seed
from ttm_core.methods.feature_losses import Companion, build_companion
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
    NormalisedDistillation,
    TransformedTeacherMatching,
    WassersteinDistillation,
    WeightedTransformedTeacherMatching,
)
from ttm_core.spec.method.requirements import Features
from ttm_core.spec.method.schedules import Ramp, at

_INIT_SEED = 302  # the stream of a companion's initial weights and memories

Terms = Mapping[str, Tensor]
"""Weighted scalar loss terms by name; their sum is the loss."""


@dataclass(frozen=True)
class Moment:
    """When in a run a loss is asked for, and the chance it may use: all that differs between steps but the batch."""

    epoch: float  # epochs since the start, as in 2.5
    generator: torch.Generator  # on the CPU, in a state that depends on the step alone


class Objective(nn.Module):
    """The loss of a method. What a feature companion learns and remembers is its state.

    Args:
        spec: the method.
        epochs: of the run.
        label_smoothing: share of each label that is spread over all classes, in the cross-entropy with the labels.
        companion: the loss on features that the spec asks for.
        costs: [C, C], for WKD-L: of moving probability between two classes.
    """

    costs: Tensor | None

    def __init__(
        self,
        spec: MethodSpec,
        *,
        epochs: int,
        label_smoothing: float = 0.0,
        companion: Companion | None = None,
        costs: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.epochs = epochs
        self.label_smoothing = label_smoothing
        self.features: Features = spec.needs.features
        self.companion = companion
        self.register_buffer("costs", costs, persistent=False)

    def forward(
        self, student: Outputs, teacher: Outputs | None, labels: Tensor, images: Tensor, moment: Moment
    ) -> Terms:
        """The named loss terms of a batch.

        Args:
            student: with the features that the spec asks for.
            teacher: the same of the same views; None for a method without a teacher.
            labels: int64 [B] classes, or [B, C] distributions over them where the method allows mixtures.
            images: int64 [B] numbers of the images in the dataset.
            moment: of the step.
        """
        if isinstance(self.spec, CrossEntropy):
            return self._cross_entropy(student.logits, labels, 1.0)
        assert teacher is not None, "the spec guarantees a teacher for every method but ce"
        terms = {
            **self._cross_entropy(student.logits, labels, self.spec.ce_weight),
            self.spec.kind: self._logit_term(student.logits, teacher.logits, labels, moment),
        }
        if self.spec.features is not None:
            assert self.companion is not None
            term = self.companion(student, teacher, images, moment.generator)
            terms[self.spec.features.kind] = self.spec.features.weight * term
        return terms

    def temperature(self, moment: Moment) -> float:
        """At which the method reads a teacher's logits, and several teachers' distributions are averaged."""
        match self.spec:
            case CrossEntropy():
                return 1.0
            case KnowledgeDistillation() | TransformedTeacherMatching() | WeightedTransformedTeacherMatching():
                return 1 / at(self.spec.gamma, moment.epoch, self.epochs)
            case _:
                return self.spec.temperature

    def _cross_entropy(self, logits: Tensor, labels: Tensor, weight: float) -> dict[str, Tensor]:
        if not weight:
            return {}
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)
        return {"ce": weight * loss}

    def _logit_term(self, z: Tensor, v: Tensor, labels: Tensor, moment: Moment) -> Tensor:
        """The weighted loss of student logits z [B, C] against teacher logits v [B, C]."""
        spec = self.spec
        assert not isinstance(spec, CrossEntropy)
        if spec.standardise_logits:
            z, v = losses.standardise_logits(z), losses.standardise_logits(v)

        def now(value: float | Ramp) -> float:
            return at(value, moment.epoch, self.epochs)

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
            case NormalisedDistillation():
                # The published code takes the heaviest class of a mixture.
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
                    regularisation=spec.regularisation,
                    iterations=spec.iterations,
                )
            case _:
                assert_never(spec)


def build_objective(
    spec: DistillSpec, *, student: nn.Module, preprocess: Preprocess, teacher: Teacher | None, split: Split
) -> Objective:
    """The objective of a run, on the CPU.

    Args:
        spec: the run.
        student: and `preprocess`, what it expects of its input.
        teacher: None for a method without one.
        split: the training images.

    Raises:
        BadSpec: the teacher, the student or the data lacks what the method asks for.
    """
    method, training = spec.method, spec.training
    companion, costs = None, None
    if not isinstance(method, CrossEntropy):
        assert teacher is not None, "the spec guarantees a teacher for every method but ce"
        if method.features is not None:
            wanted = method.needs.features
            seen = (
                probe(student, preprocess, wanted, spec.student.architecture),
                probe(teacher.model, teacher.preprocess, wanted, teacher.architecture),
            )
            torch.manual_seed(derived_seed(_INIT_SEED, training.seed))
            companion = build_companion(method.features, *seen, split)
        if isinstance(method, WassersteinDistillation):
            costs = transport_costs(method, teacher, split, size=preprocess.image_size)
    return Objective(
        method,
        epochs=training.epochs,
        label_smoothing=training.label_smoothing,
        companion=companion,
        costs=costs,
    )
