"""Scores of a report compared with scikit-learn and with their definitions."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from ttm_core.report.scores import BatchPredictions, compare

CLASSES = 12
NAMES = [f"class {number}" for number in range(CLASSES)]


def drawn(images: int, *, classes: int = CLASSES, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a student and of a better teacher, and labels."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=chance)
    truth = torch.nn.functional.one_hot(labels, classes).float()
    student = torch.randn(images, classes, generator=chance) + truth
    teacher = torch.randn(images, classes, generator=chance) + 3 * truth
    return student, teacher, labels


def batches(*tensors: Tensor, of: int) -> list[BatchPredictions]:
    return [
        BatchPredictions(list(logits), labels) for *logits, labels in zip(*(t.split(of) for t in tensors), strict=True)
    ]


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Naeini et al. 2015: sums over bins of |accuracy - confidence|, weighted by their share of the images."""
    confidence, predicted = (x.numpy() for x in logits.double().softmax(1).max(1))
    error = 0.0
    for k in range(15):
        inside = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            hits = (predicted == labels.numpy())[inside].mean()
            error += inside.mean() * abs(hits - confidence[inside].mean())
    return error


def test_scores_match_reference_implementations():
    # Imported here: takes a second, in every process that collects tests.
    from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

    student, teacher, labels = drawn(997)
    found = compare(batches(student, teacher, labels, of=100), NAMES)
    for scores, logits in ((found.student, student), (found.teacher, teacher)):
        share = logits.double().softmax(1).numpy()
        assert scores.top1 == pytest.approx(accuracy_score(labels, share.argmax(1)))
        assert scores.top5 == pytest.approx(top_k_accuracy_score(labels, share, k=5, labels=range(CLASSES)))
        assert scores.loss == pytest.approx(log_loss(labels, share, labels=range(CLASSES)), rel=1e-6)
        assert scores.calibration_error == pytest.approx(calibration_error(logits, labels), rel=1e-6)
    assert found.change_points == pytest.approx(100 * (found.student.top1 - found.teacher.top1), abs=1e-4)
    assert found.change_points < 0, "negative is worse than the teacher"
    assert found.retention_percent == pytest.approx(100 * found.student.top1 / found.teacher.top1, abs=1e-4)
    assert found.agreement == pytest.approx((student.argmax(1) == teacher.argmax(1)).double().mean().item())
    divergence = kl_divergence(Categorical(logits=teacher.double()), Categorical(logits=student.double()))
    assert found.divergence == pytest.approx(divergence.mean().item(), rel=1e-6)


def test_per_class_scores_and_largest_losses():
    student, teacher, labels = drawn(600)
    labels[labels == 11] = 0  # a class without images
    found = compare(batches(student, teacher, labels, of=64), NAMES)
    for number, row in enumerate(found.classes[:11]):
        of_class = labels == number
        assert row.name == NAMES[number]
        assert row.images == int(of_class.sum())
        assert row.student == pytest.approx((student.argmax(1)[of_class] == number).double().mean().item())
        assert row.teacher == pytest.approx((teacher.argmax(1)[of_class] == number).double().mean().item())
    assert (found.classes[11].images, found.classes[11].student, found.classes[11].teacher) == (0, None, None)
    losses = {row.name: row.teacher - row.student for row in found.classes[:11]}
    assert (
        found.lost_most
        == sorted((name for name in losses if losses[name] > 0), key=lambda name: (-losses[name], name))[:10]
    )


def test_batch_size_does_not_change_scores():
    student, teacher, labels = drawn(500)
    whole, parts = (compare(batches(student, teacher, labels, of=size), NAMES) for size in (500, 7))
    assert parts.classes == whole.classes
    assert parts.student.loss == pytest.approx(whole.student.loss, rel=1e-6)
    assert parts.student.calibration_error == pytest.approx(whole.student.calibration_error, rel=1e-9)
    assert parts.divergence == pytest.approx(whole.divergence, rel=1e-9)


def test_undefined_scores_are_none():
    student, _, labels = drawn(50, classes=3)
    found = compare(batches(student, labels, of=20), NAMES[:3])
    assert found.student.top5 is None
    assert (found.teacher, found.agreement, found.divergence, found.lost_most) == (None, None, None, [])
    assert (found.change_points, found.retention_percent) == (None, None)
    assert all(row.teacher is None for row in found.classes)


def test_confident_correct_student_has_no_calibration_error():
    labels = torch.arange(CLASSES)
    sure = torch.full((CLASSES, CLASSES), -100.0).fill_diagonal_(100.0)
    found = compare(batches(sure, sure, labels, of=5), NAMES)
    assert found.student.calibration_error == 0
    assert found.divergence == 0
    assert math.isclose(found.student.loss, 0, abs_tol=1e-9)
    assert np.isfinite(found.teacher.loss)
