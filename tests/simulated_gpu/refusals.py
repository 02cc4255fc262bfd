"""What the simulated GPU refuses, as a GPU does. Run by `test_simulated_gpu.py`, with the plugin."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

GPU = torch.device("cuda", 0)


@pytest.fixture
def error_mode() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x + torch.ones(3),
        lambda x: nn.Linear(3, 2)(x),
        lambda x: torch.cat([x, torch.ones(2, 3)]),
        lambda x: torch._foreach_add([x], [torch.ones(2, 3)]),
    ],
)
def test_tensors_of_both_devices(operation: Callable[[Tensor], object]) -> None:
    with pytest.raises(RuntimeError, match="same device"):
        operation(torch.ones(2, 3, device=GPU))


@pytest.mark.usefixtures("error_mode")
@pytest.mark.parametrize(
    "operation",
    [
        Tensor.cpu,
        lambda x: x.sum().item(),
        lambda x: torch.ones(2, 3).to(GPU),
        lambda x: x.copy_(torch.ones(2, 3)),
        lambda x: torch.tensor([1.0], device=GPU),
        lambda x: x[x > 0],
        lambda x: x[torch.tensor([0])],
    ],
)
def test_operations_for_which_the_cpu_waits(operation: Callable[[Tensor], object]) -> None:
    with pytest.raises(RuntimeError, match="synchronizing"):
        operation(torch.ones(2, 3, device=GPU))


@pytest.mark.usefixtures("error_mode")
def test_other_operations_are_computed() -> None:
    model = nn.Linear(3, 2).to(GPU, non_blocking=True)
    x = torch.ones(2, 3).pin_memory().to(GPU, non_blocking=True)
    loss = (model(x) * 2).sum()
    loss.backward()
    torch.cuda.set_sync_debug_mode("default")
    assert model.weight.grad is not None
    assert model.weight.grad.device == loss.device == GPU
    assert torch.equal(model.weight.grad.cpu(), torch.full((2, 3), 4.0))
