"""The terms of the objective equal the losses of the same name, weighted as specified, throughout a run."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from ttm_core import losses
from ttm_core.data.dataset import Split
from ttm_core.data.images import ArrayImages
from ttm_core.methods.build import Objective, StepContext
from ttm_core.methods.feature_losses import build_feature_loss
from ttm_core.methods.outputs import Outputs
from ttm_core.spec.method.methods import (
    CorrelationDistillation,
    CrossEntropy,
    DecoupledDistillation,
    KnowledgeDistillation,
    NormalizedDistillation,
    TransformedTeacherMatching,
    WassersteinDistillation,
    WeightedTransformedTeacherMatching,
)

B, C = 6, 5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


Z, V = normal(B, C, seed=0), normal(B, C, seed=1)
LABELS = torch.tensor([0, 3, 1, 4, 4, 2])
COSTS = losses.transport_costs(losses.cosine_interrelations(normal(C, 7, seed=2)))


def terms(spec, labels=LABELS, *, epoch=0.0, epochs=10, student=Z, teacher=V, **options):
    objective = Objective(spec, epochs=epochs, costs=COSTS if spec.kind == "wkd" else None, **options)
    return objective(Outputs(student), Outputs(teacher), labels, torch.arange(B), StepContext(epoch, generator()))


CASES = [
    (KnowledgeDistillation.model_validate({"temperature": 3, "kd_weight": 0.7}), lambda z, v: 0.7 * losses.kd(z, v, temperature=3)),
    (TransformedTeacherMatching.model_validate({"gamma": 0.3, "beta": 5}), lambda z, v: 5 * losses.ttm(z, v, gamma=0.3)),
    (WeightedTransformedTeacherMatching.model_validate({"gamma": 0.3, "beta": 5}), lambda z, v: 5 * losses.wttm(z, v, gamma=0.3)),
    (
        DecoupledDistillation(weight=2, alpha=0.5, beta=3, temperature=2),
        lambda z, v: 2 * losses.dkd(z, v, LABELS, alpha=0.5, beta=3, temperature=2),
    ),
    (
        CorrelationDistillation(weight=2, inter_weight=0.5, intra_weight=3, temperature=2),
        lambda z, v: 2 * losses.dist(z, v, inter_weight=0.5, intra_weight=3, temperature=2),
    ),
    (
        NormalizedDistillation(weight=2, non_target_weight=0.5, temperature=3),
        lambda z, v: 2 * losses.nkd(z, v, LABELS, gamma=0.5, temperature=3),
    ),
    (
        WassersteinDistillation(weight=2, temperature=3, regularization=0.1, iterations=5),
        lambda z, v: losses.wkd_l(z, v, LABELS, costs=COSTS, weight=2, temperature=3, regularization=0.1, iterations=5),
    ),
]  # fmt: skip
by_method = pytest.mark.parametrize(("spec", "expected"), CASES, ids=[spec.kind for spec, _ in CASES])


@by_method
def test_logit_term_equals_the_loss(spec, expected):
    found = terms(spec)
    assert list(found) == ["ce", spec.kind]
    torch.testing.assert_close(found[spec.kind], expected(Z, V), rtol=1e-12, atol=0)
    torch.testing.assert_close(found["ce"], spec.ce_weight * functional.cross_entropy(Z.float(), LABELS))


@by_method
def test_logit_standardization_affects_only_the_logit_term(spec, expected):
    found = terms(spec.model_copy(update={"logit_standardization": True}))
    once = expected(losses.standardize_logits(Z), losses.standardize_logits(V))
    torch.testing.assert_close(found[spec.kind], once, rtol=1e-12, atol=0)
    assert torch.equal(found["ce"], terms(spec)["ce"])


@by_method
def test_zero_weight_removes_the_cross_entropy(spec, expected):
    assert list(terms(spec.model_copy(update={"ce_weight": 0.0}))) == [spec.kind]


@by_method
def test_mixed_labels_are_supported_as_declared(spec, expected):
    mixed = 0.7 * functional.one_hot(LABELS, C).float() + 0.3 / C
    if spec.requirements.mixes:
        found = terms(spec, mixed)
        torch.testing.assert_close(found[spec.kind], expected(Z, V), rtol=1e-12, atol=0)
        torch.testing.assert_close(found["ce"], spec.ce_weight * functional.cross_entropy(Z.float(), mixed))
    else:
        with pytest.raises(ValueError, match="class indices"):
            terms(spec, mixed)


def test_labels_are_smoothed_in_the_cross_entropy():
    smooth = 0.8 * functional.one_hot(LABELS, C).float() + 0.2 / C
    found = terms(CrossEntropy(), label_smoothing=0.2)
    assert list(found) == ["ce"]
    torch.testing.assert_close(found["ce"], functional.cross_entropy(Z.float(), smooth))


@pytest.mark.parametrize("field", ["gamma", "beta"])
def test_ramps_have_the_value_of_the_epoch(field):
    ramp = {"kind": "linear", "first": 0.2, "last": 0.6}
    scheduled = WeightedTransformedTeacherMatching.model_validate(
        {"gamma": 0.2, "beta": 3, field: ramp} | ({"temperature": None})
    )
    for epoch, value in ((0, 0.2), (2.5, 0.3), (10, 0.6)):
        still = WeightedTransformedTeacherMatching.model_validate({"gamma": 0.2, "beta": 3, field: value})
        found, expected = terms(scheduled, epoch=epoch)["wttm"], terms(still)["wttm"]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def feature_terms(features, tokens=False):
    """The training split has every second of twelve images."""
    spec = WeightedTransformedTeacherMatching.model_validate({"features": features})
    images = ArrayImages(torch.zeros(12, 1, 8, 8, dtype=torch.uint8))
    split = Split(images, torch.arange(12) % 3, np.arange(0, 12, 2))
    shapes = [(3, B, 4, 7), (3, B, 4, 9)] if tokens else [(1, B, 7), (1, B, 9)]
    student, teacher = (
        Outputs(logits.float(), tuple(normal(*shape, seed=3).float()))
        for logits, shape in zip((Z, V), shapes, strict=True)
    )
    torch.manual_seed(0)
    feature_loss = build_feature_loss(spec.features, student, teacher, split)
    objective = Objective(spec, epochs=1, feature_loss=feature_loss)
    context = StepContext(0.0, generator())
    return objective, objective(student, teacher, LABELS, torch.arange(0, 12, 2), context), (student, teacher)


def test_itrd_adds_its_term():
    objective, found, (student, teacher) = feature_terms(
        {"kind": "itrd", "weight": 0.5, "alpha": 1.01, "beta_mutual": 0}
    )
    assert list(found) == ["ce", "wttm", "itrd"]
    expected = 0.5 * 2 * objective.feature_loss.loss.correlation(*student.features, *teacher.features)
    torch.testing.assert_close(found["itrd"], expected)


def test_crd_memory_is_indexed_by_position_in_the_split():
    objective, found, _ = feature_terms({"kind": "crd", "negatives": 3, "dim": 4})
    assert list(found) == ["ce", "wttm", "crd"]
    memory = objective.feature_loss.loss.student_memory
    assert memory.shape == (6, 4)
    torch.testing.assert_close(memory.norm(dim=1), torch.ones(6))
    assert set(objective.state_dict()) >= {"feature_loss.loss.student_memory", "feature_loss.loss.teacher_normalizer"}


def test_vitkd_adds_its_term_and_draws_its_mask_from_the_step():
    _, first, _ = feature_terms({"kind": "vitkd", "beta": 1}, tokens=True)
    _, again, _ = feature_terms({"kind": "vitkd", "beta": 1}, tokens=True)
    assert list(first) == ["ce", "wttm", "vitkd"]
    assert torch.equal(first["vitkd"], again["vitkd"])
