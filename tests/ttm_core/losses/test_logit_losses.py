"""Properties of every logit loss. Losses are discovered by signature, parameters by name."""

import inspect
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from ttm_core import losses

PARAMETERS = {"temperature": 4.0, "gamma": 0.1, "beta": 2.0, "weight": 30.0}
SIGNATURES = {
    name: parameters
    for name in losses.__all__
    if "student_logits" in (parameters := inspect.signature(getattr(losses, name)).parameters)
}
LABELLED = [name for name, parameters in SIGNATURES.items() if "labels" in parameters]

every_loss = pytest.mark.parametrize("name", SIGNATURES)


def bound(name: str, batch: int, classes: int, **given: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss with labels, costs and parameters, as a function of student and teacher logits."""
    generator = torch.Generator().manual_seed(5)
    values: dict[str, object] = {
        "labels": torch.randint(classes, (batch,), generator=generator),
        "costs": torch.rand(classes, classes, generator=generator),
        **PARAMETERS,
        **given,
    }
    wanted = {
        parameter: values[parameter]
        for parameter, details in SIGNATURES[name].items()
        if parameter in given or (parameter in values and details.default is inspect.Parameter.empty)
    }
    return partial(getattr(losses, name), **wanted)


def made_logits(batch: int = 16, classes: int = 10, spread: float = 6.0) -> tuple[Tensor, Tensor]:
    """Logits in [-spread / 2, spread / 2], both ends taken in each row."""
    generator = torch.Generator().manual_seed(1)
    z, v = torch.rand(2, batch, classes, dtype=torch.float64, generator=generator)
    low, high = torch.stack([z, v]).aminmax(dim=2, keepdim=True)
    z, v = spread * ((torch.stack([z, v]) - low) / (high - low) - 0.5)
    return z, v


def test_losses_are_discovered() -> None:
    assert {"kd", "ttm", "wttm"} <= set(SIGNATURES)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_at_a_large_spread(name: str, dtype: torch.dtype) -> None:
    loss = bound(name, 16, 10)
    z, v = (side.to(dtype) for side in made_logits(spread=60))
    exact_z = z.double().requires_grad_()
    exact = loss(exact_z, v.double())
    z.requires_grad_()
    found = loss(z, v)

    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6)
    gradient, exact_gradient = torch.autograd.grad(found, z)[0], torch.autograd.grad(exact, exact_z)[0]
    assert (gradient - exact_gradient).abs().max() <= torch.finfo(dtype).eps * exact_gradient.abs().max()


@pytest.mark.parametrize("name", ["ttm", "wttm"])
def test_direct_form_loses_the_value_in_half_precision(name: str) -> None:
    """softmax(v) ** gamma in float16 underflows where the student is most wrong. The losses use the log domain."""
    v = made_logits(spread=60)[1].half()
    exact = bound(name, 16, 10)(v.double(), v.double()).item()
    powered = v.softmax(1) ** 0.1
    p = powered / powered.sum(1, keepdim=True)
    divergence = torch.where(p > 0, p * (p.log() - v.log_softmax(1)), 0).sum(1)
    direct = (divergence * (powered.sum(1) if name == "wttm" else 1)).mean().item()
    assert direct < 0.9 * exact
    assert bound(name, 16, 10)(v, v).item() == pytest.approx(exact, rel=1e-5)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_extreme_logits_stay_finite(name: str, dtype: torch.dtype) -> None:
    z, v = (side.to(dtype) for side in made_logits(spread=2e4))
    z.requires_grad_()
    loss = bound(name, 16, 10)(z, v)
    assert loss.isfinite()
    assert torch.autograd.grad(loss, z)[0].isfinite().all()


@every_loss
@pytest.mark.parametrize("value", [0.0, -7.5])
def test_equal_logits_stay_finite(name: str, value: float) -> None:
    z = torch.full((4, 10), value, requires_grad=True)
    loss = bound(name, 4, 10)(z, torch.full((4, 10), value))
    assert loss.isfinite()
    assert torch.autograd.grad(loss, z)[0].isfinite().all()


@every_loss
def test_two_classes_and_one_sample(name: str) -> None:
    z = torch.tensor([[0.3, -1.2]], dtype=torch.float64, requires_grad=True)
    loss = bound(name, 1, 2)(z, torch.tensor([[2.0, -0.5]], dtype=torch.float64))
    assert loss.isfinite()
    assert loss.shape == ()
    assert torch.autograd.grad(loss, z)[0].isfinite().all()


@pytest.mark.parametrize("name", [name for name in SIGNATURES if name not in LABELLED])
def test_one_class_gives_no_loss(name: str) -> None:
    z = torch.randn(3, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(bound(name, 3, 1)(z, torch.randn(3, 1)), z)[0].abs().max() == 0


@pytest.mark.parametrize("name", LABELLED)
def test_one_class_without_other_classes_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="two or more"):
        bound(name, 3, 1)(torch.randn(3, 1), torch.randn(3, 1))


@every_loss
def test_no_gradient_flows_to_the_teacher(name: str) -> None:
    z, v = (side.requires_grad_() for side in made_logits())
    bound(name, 16, 10)(z, v).backward()
    assert z.grad is not None
    assert z.grad.abs().max() > 0
    assert v.grad is None


@every_loss
def test_losses_are_invariant_to_logit_shifts(name: str) -> None:
    z, v = made_logits()
    loss = bound(name, 16, 10)
    shift = torch.linspace(-50, 50, 16, dtype=torch.float64).unsqueeze(1)
    torch.testing.assert_close(loss(z + shift, v - 2 * shift), loss(z, v), rtol=1e-10, atol=0)


@every_loss
def test_is_a_mean_over_the_batch(name: str) -> None:
    z, v = made_logits()
    once = bound(name, 16, 10)
    twice = partial(once, **{k: x.repeat(2) for k, x in once.keywords.items() if k == "labels"})
    torch.testing.assert_close(twice(z.repeat(2, 1), v.repeat(2, 1)), once(z, v), rtol=1e-7, atol=0)


@every_loss
def test_autocast_does_not_round(name: str) -> None:
    z, v = (side.float() for side in made_logits())
    loss = bound(name, 16, 10)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(z, v), loss(z, v))
        inside = loss(z, v)
    assert torch.equal(inside, loss(z, v))


@every_loss
@pytest.mark.parametrize(
    ("student", "teacher"),
    [((4, 10), (4, 9)), ((4, 10), (3, 10)), ((10,), (10,)), ((4, 10, 1), (4, 10, 1)), ((0, 10),) * 2],
)
def test_shapes_are_checked(name: str, student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[B, C\]"):
        bound(name, 4, 10)(torch.zeros(student), torch.zeros(teacher))


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("labels", [torch.zeros(3, dtype=torch.long), torch.zeros(4, 1).long(), torch.zeros(4)])
def test_labels_are_checked(name: str, labels: Tensor) -> None:
    with pytest.raises(ValueError, match="class indices"):
        bound(name, 4, 10)(torch.zeros(4, 10), torch.zeros(4, 10), labels=labels)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        *((name, "temperature") for name, parameters in SIGNATURES.items() if "temperature" in parameters),
        ("ttm", "gamma"),
        ("wttm", "gamma"),
        ("wkd_l", "regularization"),
        ("wkd_l", "iterations"),
    ],
)
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_parameters_are_checked(name: str, parameter: str, value: float) -> None:
    with pytest.raises(ValueError, match=parameter):
        bound(name, 4, 10, **{parameter: value})(torch.zeros(4, 10), torch.zeros(4, 10))
