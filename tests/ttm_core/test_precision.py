"""The precision of a run: what `auto` chooses, that later attempts keep it, and what a device refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ttm_core import factories
from ttm_core.errors import BadSpec, NonFiniteLoss
from ttm_core.pipeline.distill import distill
from ttm_core.precision import choose_precision
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec
from ttm_core.teacher_store.store import Stores, list_stores
from ttm_core.training.trainer import Interrupted

CPU = torch.device("cpu")


def run(spec: DistillSpec, workdir: Path, **options: Any) -> tuple[events.Result, DistillSpec]:
    """The result and the resolved spec."""
    emitted: list[events.Event] = []
    result = distill(spec, workdir, on_event=emitted.append, **options)
    [resolved] = [event for event in emitted if isinstance(event, events.Resolved)]
    return result, DistillSpec.model_validate(resolved.spec)


@pytest.mark.parametrize(
    ("units", "expected"), [((), "float32"), (("amx_bf16",), "bfloat16"), (("avx512_bf16",), "bfloat16")]
)
def test_auto_depends_on_the_cpu(set_units: Any, units: tuple[str, ...], expected: str) -> None:
    set_units(*units)
    assert choose_precision(CPU) == expected


def test_later_attempts_keep_the_precision_of_the_first(set_units: Any, digits_idx: Path, tmp_path: Path) -> None:
    spec = factories.spec(digits_idx)
    set_units("avx512_bf16")
    _, resolved = run(spec, tmp_path / "uninterrupted")
    assert resolved.training.precision == resolved.training.teacher_precision == "bfloat16"
    stops = iter([False, False, False, True])
    with pytest.raises(Interrupted):
        distill(spec, tmp_path / "stopped", should_stop=lambda: next(stops, True))
    set_units()
    _, resumed = run(spec, tmp_path / "stopped")
    assert resumed.training.precision == "bfloat16"
    first, second = (tmp_path / name / "out/student.safetensors" for name in ("uninterrupted", "stopped"))
    assert first.read_bytes() == second.read_bytes()


def test_bfloat16_changes_the_student_and_little_else(digits_idx: Path, teacher_file: Path, tmp_path: Path) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        spec = factories.spec(digits_idx, teacher_file, training={"precision": precision, "epochs": 3})
        result, resolved = run(spec, tmp_path / precision)
        assert resolved.training.precision == precision
        losses[precision] = result.student_validation.loss
    assert losses["float32"] != losses["bfloat16"]
    assert losses["float32"] == pytest.approx(losses["bfloat16"], rel=0.05)


def test_teacher_precision_decides_the_teachers_logits(digits_idx: Path, teacher_file: Path, tmp_path: Path) -> None:
    stores = Stores(tmp_path / "stores")
    for student, teacher, teacher_runs in (
        ("float32", None, True),
        ("bfloat16", "float32", False),
        ("float32", "bfloat16", True),
    ):
        training = {"precision": student, "teacher_precision": teacher}
        spec = factories.spec(digits_idx, teacher_file, training=training)
        result, resolved = run(spec, tmp_path / f"{student} {teacher}", stores=stores)
        assert resolved.training.teacher_precision == (teacher or student)
        assert bool(result.teacher_forwards) is teacher_runs
    assert len(list_stores(tmp_path / "stores")) == 2


@pytest.mark.parametrize("field", ["precision", "teacher_precision"])
def test_float16_without_a_gpu_is_refused(digits_idx: Path, teacher_file: Path, tmp_path: Path, field: str) -> None:
    spec = factories.spec(digits_idx, teacher_file, training={field: "float16"})
    with pytest.raises(BadSpec, match=f"training.{field} float16 needs a GPU"):
        distill(spec, tmp_path, device=CPU)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_non_finite_loss_names_the_precision_as_a_cause(digits_idx: Path, tmp_path: Path, precision: str) -> None:
    training = {
        "precision": precision,
        "optimizer": {"name": "sgd", "learning_rate": 1000.0},
        "schedule": "constant",
        "epochs": 20,
    }
    with pytest.raises(NonFiniteLoss) as caught:
        distill(factories.spec(digits_idx, training=training), tmp_path)
    assert ("set training.precision to float32" in str(caught.value)) == (precision == "bfloat16")
