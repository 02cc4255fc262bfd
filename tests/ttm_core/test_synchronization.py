"""Training steps that make the CPU wait for a GPU: calls that read a tensor's values, or copy Python values to a device,
are forbidden within a step and while its views are made. On the CPU they cost nothing, so they are found here by their
names.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
from torch import Tensor

from tests.ttm_core import factories
from tests.ttm_core.test_engine import METHODS
from ttm_core.data.views import Views
from ttm_core.pipeline.distill import distill
from ttm_core.training.trainer import Trainer

FORBIDDEN = ("cpu", "item", "new_tensor", "tolist")
AUGMENTATION = {
    "kind": "crop_flip",
    "rand_augment": {},
    "erasing": 0.5,
    "mix": {"mixup_alpha": 0.2, "cutmix_alpha": 1.0},
}
CASES: dict[str, dict[str, Any]] = {
    **{name: {"method": method} for name, method in METHODS.items()},
    "stored logits and clipped gradients": {
        "training": {"teacher_logits": "stored", "gradient_clipping": {"kind": "norm", "value": 1.0}},
    },
    "augmented images in parts": {"training": {"augmentation": AUGMENTATION, "gradient_accumulation": 2}},
}


def guard_steps(monkeypatch: pytest.MonkeyPatch, guard: Callable[[], AbstractContextManager[None]]) -> list[None]:
    """Runs each training step but the first, and the device's part of all views, within `guard()`. Returns a list that
    grows by one with each step."""
    original, original_finish = Trainer._optimize, Views.finish
    steps: list[None] = []

    def optimize(trainer: Trainer, *arguments: Any) -> Any:
        steps.append(None)
        # Constants are copied to the device once.
        with guard() if len(steps) > 1 else nullcontext():
            return original(trainer, *arguments)

    def finish(views: Views, *arguments: Any) -> Any:
        with guard():
            return original_finish(views, *arguments)

    monkeypatch.setattr(Trainer, "_optimize", optimize)
    monkeypatch.setattr(Views, "finish", finish)
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
