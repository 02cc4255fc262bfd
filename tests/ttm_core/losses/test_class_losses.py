"""DKD, NKD and logit standardization against NumPy computations by their definitions, and their identities."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttm_core.losses import dkd, kd, nkd, standardize_logits

Array = NDArray[np.float64]


def softmax(x: Array) -> Array:
    return np.exp(x) / np.exp(x).sum()


def made(batch: int = 8, classes: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    random = np.random.default_rng(2)
    z, v = 2 * random.standard_normal((2, batch, classes))
    return torch.from_numpy(z), torch.from_numpy(v), torch.from_numpy(random.integers(classes, size=batch))


@pytest.mark.parametrize(("alpha", "beta", "temperature"), [(1.0, 8.0, 4.0), (0.5, 1.0, 1.0), (0.0, 2.0, 2.0)])
def test_dkd_by_definition(alpha: float, beta: float, temperature: float) -> None:
    z, v, labels = made()
    total = 0.0
    for own, given, label in zip(z.numpy(), v.numpy(), labels.tolist(), strict=True):
        p, q = softmax(given / temperature), softmax(own / temperature)
        binary_p, binary_q = np.array([p[label], 1 - p[label]]), np.array([q[label], 1 - q[label]])
        other_p, other_q = np.delete(p, label) / (1 - p[label]), np.delete(q, label) / (1 - q[label])
        target = (binary_p * np.log(binary_p / binary_q)).sum()
        others = (other_p * np.log(other_p / other_q)).sum()
        total += temperature**2 * (alpha * target + beta * others)
    found = dkd(z, v, labels, alpha=alpha, beta=beta, temperature=temperature)
    assert found.item() == pytest.approx(total / len(z), rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kd_is_dkd_weighted_by_teacher_uncertainty(temperature: float) -> None:
    for z, v, label in zip(*made(), strict=True):
        doubt = 1 - (v / temperature).softmax(0)[label].item()
        found = dkd(z[None], v[None], label[None], alpha=1, beta=doubt, temperature=temperature)
        assert found.item() == pytest.approx(kd(z[None], v[None], temperature=temperature).item(), rel=1e-12)


@pytest.mark.parametrize(("gamma", "temperature"), [(1.5, 1.0), (1.0, 2.0), (0.0, 1.0)])
def test_nkd_by_definition(gamma: float, temperature: float) -> None:
    z, v, labels = made()
    total = 0.0
    for own, given, label in zip(z.numpy(), v.numpy(), labels.tolist(), strict=True):
        target = softmax(given)[label] * np.log(softmax(own)[label])
        p, q = softmax(given / temperature), softmax(own / temperature)
        others = (np.delete(p, label) / (1 - p[label]) * np.log(np.delete(q, label) / (1 - q[label]))).sum()
        total -= target + gamma * temperature**2 * others
    found = nkd(z, v, labels, gamma=gamma, temperature=temperature)
    assert found.item() == pytest.approx(total / len(z), rel=1e-12)


def test_nkd_is_the_soft_cross_entropy_without_the_mass_of_the_others() -> None:
    """H(p, q) = nkd with gamma = 1 - p_t, less (1 - p_t) * log(1 - q_t)."""
    for z, v, label in zip(*made(), strict=True):
        p, q = v.softmax(0), z.softmax(0)
        doubt = 1 - p[label]
        cross_entropy = -(p * q.log()).sum()
        found = nkd(z[None], v[None], label[None], gamma=doubt.item())
        torch.testing.assert_close(found - doubt * (1 - q[label]).log(), cross_entropy, rtol=1e-12, atol=0)


def test_standardized_logits() -> None:
    z, _, _ = made()
    found = standardize_logits(z)
    expected = (z.numpy() - z.numpy().mean(1, keepdims=True)) / z.numpy().std(1, ddof=1, keepdims=True)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    assert torch.equal(found.argsort(1), z.argsort(1))


@pytest.mark.parametrize(("scale", "shift"), [(3.0, 0.0), (0.2, -40.0)])
def test_standardized_logits_keep_no_scale_and_no_shift(scale: float, shift: float) -> None:
    z, v, _ = made()
    plain = kd(standardize_logits(z), standardize_logits(v), temperature=2)
    moved = kd(standardize_logits(scale * z + shift), standardize_logits(v), temperature=2)
    torch.testing.assert_close(moved, plain, rtol=1e-5, atol=0)


def test_standardized_logits_are_bounded_by_the_number_of_classes() -> None:
    one_hot = torch.eye(10, dtype=torch.float64)
    assert standardize_logits(one_hot).max().item() == pytest.approx(9 / np.sqrt(10), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_equal_logits_have_a_finite_gradient(dtype: torch.dtype) -> None:
    z = torch.zeros(3, 5, dtype=dtype, requires_grad=True)
    found = standardize_logits(z)
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.zeros(3, 5))
    kd(found, standardize_logits(torch.randn(3, 5)), temperature=2).backward()
    assert z.grad is not None
    assert z.grad.float().isfinite().all() or dtype == torch.float16


def test_one_class_cannot_be_standardized() -> None:
    with pytest.raises(ValueError, match="two or more"):
        standardize_logits(torch.zeros(3, 1))
