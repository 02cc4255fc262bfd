"""From a MethodSpec to its loss terms: the one place to register a method."""

from collections.abc import Callable, Mapping
from typing import assert_never

from torch import Tensor
from torch.nn import functional

from ttm_core import losses
from ttm_core.methods.specs import (
    CrossEntropy,
    KnowledgeDistillation,
    MethodSpec,
    TransformedTeacherMatching,
    WeightedTransformedTeacherMatching,
)

Terms = Mapping[str, Tensor]
"""Weighted scalar loss terms by name; their sum is the loss."""

Objective = Callable[[Tensor, Tensor, Tensor | None], Terms]
"""(student_logits [B, C], labels [B], teacher_logits [B, C] or None) -> terms."""


def build_objective(spec: MethodSpec) -> Objective:
    """The named loss terms of a method."""

    def terms(student_logits: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> Terms:
        match spec:
            case CrossEntropy():
                return _cross_entropy(student_logits, labels, 1.0)
            case KnowledgeDistillation(temperature=temperature, ce_weight=ce_weight, kd_weight=weight):
                term = losses.kd(student_logits, _given(teacher_logits), temperature=temperature)
            case TransformedTeacherMatching(gamma=gamma, ce_weight=ce_weight, beta=weight):
                term = losses.ttm(student_logits, _given(teacher_logits), gamma=gamma)
            case WeightedTransformedTeacherMatching(gamma=gamma, ce_weight=ce_weight, beta=weight):
                term = losses.wttm(student_logits, _given(teacher_logits), gamma=gamma)
            case _:
                assert_never(spec)
        return {**_cross_entropy(student_logits, labels, ce_weight), spec.kind: weight * term}

    return terms


def _cross_entropy(student_logits: Tensor, labels: Tensor, weight: float) -> Terms:
    return {"ce": weight * functional.cross_entropy(student_logits.float(), labels)} if weight else {}


def _given(teacher_logits: Tensor | None) -> Tensor:
    assert teacher_logits is not None, "the spec guarantees a teacher for every method but ce"
    return teacher_logits
