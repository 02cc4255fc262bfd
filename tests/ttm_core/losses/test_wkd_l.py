"""WKD-L against the exact transport problem, a Sinkhorn written sample by sample, and HSIC by its definition."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttm_core.losses import cka_interrelations, cosine_interrelations, transport_costs, wkd_l

Array = NDArray[np.float64]


def made(batch: int = 5, classes: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    z, v = 2 * torch.randn(2, batch, classes, dtype=torch.float64, generator=generator)
    features = torch.randn(classes, 9, 4, dtype=torch.float64, generator=generator)
    labels = torch.randint(classes, (batch,), generator=generator)
    return z, v, labels, transport_costs(cka_interrelations(features))


def exact_transport(rows: Array, columns: Array, costs: Array) -> float:
    from scipy.optimize import linprog  # here: takes half a second, in every process that collects tests

    size = len(rows)
    marginals = np.vstack([np.kron(np.eye(size), np.ones(size)), np.kron(np.ones(size), np.eye(size))])
    solved = linprog(costs.ravel(), A_eq=marginals, b_eq=np.concatenate([rows, columns]))
    return float(solved.fun)


def sinkhorn_transport(rows: Array, columns: Array, costs: Array, regularization: float, iterations: int) -> float:
    f, g = np.full(len(rows), -np.log(len(rows))), np.zeros(len(rows))
    for _ in range(iterations):
        g = np.log(columns) - np.logaddexp.reduce(f[:, None] - costs / regularization, axis=0)
        f = np.log(rows) - np.logaddexp.reduce(g[None, :] - costs / regularization, axis=1)
    return float((np.exp(f[:, None] + g[None, :] - costs / regularization) * costs).sum())


def others(logits: Tensor, label: int, temperature: float) -> Array:
    kept = np.delete(logits.numpy() / temperature, label)
    return np.exp(kept) / np.exp(kept).sum()


def target_term(z: Tensor, v: Tensor, labels: Tensor) -> float:
    p, q = v.softmax(1).numpy(), z.softmax(1).numpy()
    return float(np.mean([-p[i, label] * np.log(q[i, label]) for i, label in enumerate(labels.tolist())]))


@pytest.mark.parametrize(
    ("temperature", "regularization", "iterations"), [(8.0, 0.05, 10), (2.0, 0.2, 3), (1.0, 0.05, 40)]
)
def test_by_definition(temperature: float, regularization: float, iterations: int) -> None:
    z, v, labels, costs = made()
    transports = [
        sinkhorn_transport(
            others(own, label, temperature),
            others(given, label, temperature),
            np.delete(np.delete(costs.numpy(), label, 0), label, 1),
            regularization,
            iterations,
        )
        for own, given, label in zip(z, v, labels.tolist(), strict=True)
    ]
    found = wkd_l(
        z,
        v,
        labels,
        costs=costs,
        weight=30,
        temperature=temperature,
        regularization=regularization,
        iterations=iterations,
    )
    assert found.item() == pytest.approx(target_term(z, v, labels) + 30 * np.mean(transports), rel=1e-12)


def test_little_regularization_gives_the_exact_transport() -> None:
    z, v, labels, costs = made()
    transports = [
        exact_transport(
            others(own, label, 1), others(given, label, 1), np.delete(np.delete(costs.numpy(), label, 0), label, 1)
        )
        for own, given, label in zip(z, v, labels.tolist(), strict=True)
    ]
    found = wkd_l(z, v, labels, costs=costs, weight=1, temperature=1, regularization=0.005, iterations=2000)
    assert found.item() == pytest.approx(target_term(z, v, labels) + np.mean(transports), rel=2e-3)


def test_equal_costs_make_it_the_total_variation() -> None:
    z, v, labels, _ = made()
    costs = 1 - torch.eye(6, dtype=torch.float64)
    distances = [
        np.abs(others(own, label, 1) - others(given, label, 1)).sum() / 2
        for own, given, label in zip(z, v, labels.tolist(), strict=True)
    ]
    found = wkd_l(z, v, labels, costs=costs, weight=1, temperature=1, regularization=0.02, iterations=200)
    assert found.item() == pytest.approx(target_term(z, v, labels) + np.mean(distances), rel=1e-3)


def test_related_classes_are_cheaper() -> None:
    v = torch.tensor([[5.0, 3.0, 0.0, 0.0]])
    swapped, afar = torch.tensor([[5.0, 0.0, 3.0, 0.0]]), torch.tensor([[5.0, 0.0, 0.0, 3.0]])
    related = torch.eye(4)
    related[1, 2] = related[2, 1] = 0.9
    arguments = {"costs": transport_costs(related), "weight": 1.0, "temperature": 1.0}
    label = torch.tensor([0])
    assert wkd_l(swapped, v, label, **arguments) < wkd_l(afar, v, label, **arguments)


def test_costs() -> None:
    related = torch.tensor([[1.0, 0.25], [0.25, 1.0]], dtype=torch.float64)
    off_diagonal = 1 - np.exp(-2 * 0.75)
    assert transport_costs(related, sharpness=2).tolist() == [
        [0.0, pytest.approx(off_diagonal)],
        [pytest.approx(off_diagonal), 0.0],
    ]


def test_cka_by_definition() -> None:
    features = torch.randn(4, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).numpy()
    centring = np.eye(7) - 1 / 7

    def hsic(x: Array, y: Array) -> float:
        return float(np.trace(x @ x.T @ centring @ y @ y.T @ centring))

    expected = [[hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y)) for y in features] for x in features]
    np.testing.assert_allclose(cka_interrelations(torch.from_numpy(features)).numpy(), expected, rtol=1e-12)


def test_cosine_interrelations() -> None:
    prototypes = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, -2.0]])
    root = 0.5**0.5
    torch.testing.assert_close(
        cosine_interrelations(prototypes), torch.tensor([[1.0, root, 0.0], [root, 1.0, -root], [0.0, -root, 1.0]])
    )


@pytest.mark.parametrize("shape", [(6, 5), (5, 5), (6,)])
def test_costs_must_fit_the_classes(shape: tuple[int, ...]) -> None:
    z, v, labels, _ = made()
    with pytest.raises(ValueError, match="costs"):
        wkd_l(z, v, labels, costs=torch.zeros(shape), weight=1, temperature=1)
