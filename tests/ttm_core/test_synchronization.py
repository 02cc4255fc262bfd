"""Training steps that make the CPU wait for a GPU: calls that read a tensor's values, or copy Python values to a device,
are forbidden within a step. On the CPU they cost nothing, so they are found here by their names.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
from torch import Tensor

from tests.ttm_core import factories
from tests.ttm_core.test_engine import METHODS
from ttm_core.pipeline.distill import distill
from ttm_core.training.trainer import Trainer

FORBIDDEN = ("cpu", "item", "new_tensor", "tolist")
CASES: dict[str, dict[str, Any]] = {
    **{name: {"method": method} for name, method in METHODS.items()},
    "stored logits and clipped gradients": {
        "training": {"teacher_logits": "stored", "gradient_clipping": {"kind": "norm", "value": 1.0}},
    },
    "mixed images in parts": {
        "training": {"augmentation": {"kind": "crop_flip", "mix": {"mixup_alpha": 0.2}}, "gradient_accumulation": 2}
    },
}


def guard_steps(monkeypatch: pytest.MonkeyPatch, guard: Callable[[], AbstractContextManager[None]]) -> list[None]:
    """Runs each training step but the first within `guard()`. Returns a list that grows by one with each step."""
    original = Trainer._optimize
    steps: list[None] = []

    def optimize(trainer: Trainer, *arguments: Any) -> Any:
        steps.append(None)
        # Constants are copied to the device once.
        with guard() if len(steps) > 1 else nullcontext():
            return original(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_optimize", optimize)
    return steps


def refused(name: str) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise AssertionError(f"Tensor.{name} was called within a training step")

    return call


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_a_step_reads_no_tensor_and_copies_no_python_values(
    fields, digits_idx, teacher_file, tmp_path, monkeypatch
) -> None:
    @contextmanager
    def forbidden() -> Iterator[None]:
        with monkeypatch.context() as patch:
            for name in FORBIDDEN:
                patch.setattr(Tensor, name, refused(name))
            yield

    steps = guard_steps(monkeypatch, forbidden)
    training = {"epochs": 1, **fields.get("training", {})}
    method = {"method": fields["method"]} if "method" in fields else {}
    distill(factories.spec(digits_idx, teacher_file, training=training, **method), tmp_path)
    assert len(steps) == 9
