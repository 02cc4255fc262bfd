"""The identities of the TTM paper, in float64."""

import math

import pytest
import torch
from torch import Tensor

from ttm_core.losses import kd, kl_divergence, power_sum, ttm, wttm

GAMMAS = [1.0, 0.7, 0.4, 0.1, 0.05, 1.5]


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    z, v = 4 * torch.randn(2, 9, 12, dtype=torch.float64, generator=generator)
    return z.requires_grad_(), v


def renyi_entropy(p: Tensor, order: float) -> Tensor:
    if order == 1:
        return -(p * p.log()).sum(1)
    return (p**order).sum(1).log() / (1 - order)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_power_transform_is_the_tempered_softmax(logits: tuple[Tensor, Tensor], gamma: float) -> None:
    z, v = logits
    powered = v.softmax(1) ** gamma
    powered = powered / powered.sum(1, keepdim=True)
    q = z.softmax(1)
    by_definition = (powered * (powered / q).log()).sum(1).mean()
    torch.testing.assert_close(ttm(z, v, gamma=gamma), by_definition, rtol=1e-12, atol=0)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_divergence_by_renyi_entropies(logits: tuple[Tensor, Tensor], gamma: float) -> None:
    """KL(p_T||q) = T * KL(p_T||q_T) - (T - 1) * H_{1/T}(q) + (T - 1) * H(p_T)."""
    z, v = logits
    t = 1 / gamma
    log_p, log_q = (v / t).log_softmax(1), (z / t).log_softmax(1)
    expected = t * kl_divergence(log_p, log_q) + (t - 1) * (
        renyi_entropy(log_p.exp(), 1) - renyi_entropy(z.softmax(1), gamma)
    )
    torch.testing.assert_close(kl_divergence(log_p, z.log_softmax(1)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_power_sum(logits: tuple[Tensor, Tensor], gamma: float) -> None:
    _, v = logits
    found = power_sum(v, gamma=gamma)
    torch.testing.assert_close(found.log(), (gamma * v).logsumexp(1) - gamma * v.logsumexp(1), rtol=1e-12, atol=1e-12)
    if gamma <= 1:
        assert (found >= 1 - 1e-12).all()
        assert (found <= v.shape[1] ** (1 - gamma) + 1e-12).all()


@pytest.mark.parametrize("gamma", [0.7, 0.1])
def test_power_sum_reaches_its_bounds(gamma: float) -> None:
    uniform = torch.zeros(1, 8, dtype=torch.float64)
    one_hot = torch.tensor([[1e4, 0.0, 0.0, 0.0]], dtype=torch.float64)
    assert power_sum(uniform, gamma=gamma).item() == pytest.approx(8 ** (1 - gamma), rel=1e-12)
    assert power_sum(one_hot, gamma=gamma).item() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gradients(logits: tuple[Tensor, Tensor], gamma: float) -> None:
    z, v = logits
    n, t = len(z), 1 / gamma
    q, q_t, p_t = z.softmax(1), (z / t).softmax(1), (v / t).softmax(1)
    weights = (v.softmax(1) ** gamma).sum(1, keepdim=True)
    expected = {
        ttm(z, v, gamma=gamma): (q - p_t) / n,
        wttm(z, v, gamma=gamma): weights * (q - p_t) / n,
        kd(z, v, temperature=t): t**2 * (q_t - p_t) / (t * n),
    }
    for loss, gradient in expected.items():
        torch.testing.assert_close(torch.autograd.grad(loss, z)[0], gradient.detach(), rtol=1e-11, atol=1e-14)


def test_all_are_one_at_gamma_one(logits: tuple[Tensor, Tensor]) -> None:
    z, v = logits
    plain = kd(z, v, temperature=1).item()
    assert ttm(z, v, gamma=1).item() == pytest.approx(plain, rel=1e-14)
    assert wttm(z, v, gamma=1).item() == pytest.approx(plain, rel=1e-14)
    assert not math.isclose(ttm(z, v, gamma=0.5).item(), plain, rel_tol=1e-2)


def test_ttm_is_minimal_at_the_transformed_teacher(logits: tuple[Tensor, Tensor]) -> None:
    _, v = logits
    for loss in (ttm, wttm):
        assert loss(0.3 * v, v, gamma=0.3).item() == pytest.approx(0, abs=1e-14)
