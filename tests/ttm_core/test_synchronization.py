"""Training steps that make the CPU wait for a GPU: calls that read a tensor's values, or copy Python values to a device,
are forbidden within a step. On the CPU they cost nothing, so they are found here by their names.
"""

from collections.abc import Callable
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


def refused(name: str) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise AssertionError(f"Tensor.{name} was called within a training step")

    return call


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_a_step_reads_no_tensor_and_copies_no_python_values(
    fields, digits_idx, teacher_file, tmp_path, monkeypatch
) -> None:
    original = Trainer._optimize
    steps = 0

    def optimize(trainer: Trainer, *arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 1:  # constants are copied to the device once
            return original(trainer, *arguments)
        with monkeypatch.context() as patch:
            for name in FORBIDDEN:
                patch.setattr(Tensor, name, refused(name))
            return original(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_optimize", optimize)
    training = {"epochs": 1, **fields.get("training", {})}
    method = {"method": fields["method"]} if "method" in fields else {}
    distill(factories.spec(digits_idx, teacher_file, training=training, **method), tmp_path)
    assert steps == 9
