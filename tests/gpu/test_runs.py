"""Runs on a GPU: every method, bit-identical resume, precisions, teacher stores, compilation, and two GPUs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ttm_core import factories
from tests.ttm_core.test_compilation import PREPROCESS, student
from tests.ttm_core.test_engine import METHODS, assert_resumes_bit_identically, sha256, student_of
from tests.ttm_core.test_synchronization import AUGMENTATION, guard_steps
from ttm_core.hardware.compilation import measure_compilation
from ttm_core.pipeline.decisions import resolve
from ttm_core.pipeline.distill import distill
from ttm_core.spec import events
from ttm_core.teacher_store.store import Stores

CHANCE = 2.3  # cross-entropy of ten equally likely classes, in nats


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_stopped_runs_resume_bit_identically(method: Any, digits_idx: Path, teacher_file: Path, tmp_path: Path) -> None:
    training = {"augmentation": {"kind": "crop_flip", "padding": 1}, "epochs": 3}
    spec = factories.spec(digits_idx, teacher_file, method=method, training=training)
    assert_resumes_bit_identically(spec, tmp_path)


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precisions_and_memory_formats_train(
    precision: str, memory_format: str, digits_idx: Path, teacher_file: Path, tmp_path: Path
) -> None:
    training = {"precision": precision, "memory_format": memory_format, "teacher_memory_format": memory_format}
    spec = factories.spec(digits_idx, teacher_file, training=training)
    assert distill(spec, tmp_path).student_validation.loss < CHANCE


@pytest.mark.usefixtures("cuda")
def test_float16_trains_and_resumes_bit_identically(digits_idx: Path, teacher_file: Path, tmp_path: Path) -> None:
    training = {"precision": "float16", "gradient_clipping": 5.0, "epochs": 3}
    spec = factories.spec(digits_idx, teacher_file, training=training)
    assert_resumes_bit_identically(spec, tmp_path)
    assert distill(spec, tmp_path / "again").student_validation.loss < CHANCE


def test_full_store_gives_the_same_student_without_a_teacher_forward(
    digits_idx: Path, teacher_file: Path, tmp_path: Path
) -> None:
    spec = factories.spec(digits_idx, teacher_file, training={"epochs": 3})
    stores = Stores(tmp_path / "stores")
    cold = distill(spec, tmp_path / "cold", stores=stores)
    warm = distill(spec, tmp_path / "warm", stores=stores)
    assert cold.teacher_forwards
    assert warm.teacher_forwards == 0
    assert sha256(student_of(tmp_path / "cold")) == sha256(student_of(tmp_path / "warm"))


def test_training_options_resume_bit_identically(digits_idx: Path, teacher_file: Path, tmp_path: Path) -> None:
    options = {"gradient_accumulation": 3, "ema": 0.9, "gradient_clipping": {"kind": "agc", "value": 0.02}}
    training = {"augmentation": AUGMENTATION, "optimizer": {"name": "adamw", "learning_rate": 0.002}, "epochs": 3}
    assert_resumes_bit_identically(factories.spec(digits_idx, teacher_file, training=training | options), tmp_path)


def test_two_teachers_and_quantization_aware_training_resume_bit_identically(
    digits_idx: Path, teacher_file: Path, tmp_path: Path
) -> None:
    teacher = {"checkpoint": teacher_file.as_uri(), "allow_chance": True}
    quantize = {"mode": "aware", "epochs": 2}
    spec = factories.spec(
        digits_idx, teachers=[teacher, teacher], quantize=quantize, exports=["onnx_int8"], method="wttm"
    )
    assert_resumes_bit_identically(spec, tmp_path)


def test_irreproducible_runs_train(digits_idx: Path, teacher_file: Path, tmp_path: Path) -> None:
    spec = factories.spec(digits_idx, teacher_file, training={"reproducible": False})
    assert distill(spec, tmp_path).student_validation.loss < CHANCE


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("compile_models", [True, "auto"])
def test_compiled_runs_resume_bit_identically(
    compile_models: Any, digits_idx: Path, teacher_file: Path, tmp_path: Path
) -> None:
    spec = factories.spec(digits_idx, teacher_file, training={"compile": compile_models, "epochs": 3})
    emitted: list[events.Event] = []
    distill(spec, tmp_path / "whole", on_event=emitted.append)
    [resolved] = [event for event in emitted if isinstance(event, events.Resolved)]
    assert isinstance(resolved.spec.training.compile, bool)
    assert_resumes_bit_identically(resolved.spec, tmp_path)


def test_cuda_graphs_change_no_bit_of_a_run(
    cuda: torch.device, digits_idx: Path, teacher_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measure_compilation(student(), PREPROCESS, cuda, "float32", batch_size=32, cuda_graphs=True)
    assert found.graphs_step is not None, "they changed a bit or failed, and are not used on this device"

    spec = factories.spec(digits_idx, teacher_file, training={"compile": True, "epochs": 3})
    for mode in ("default", "reduce-overhead"):
        monkeypatch.setattr(resolve, "resolve_compile_mode", lambda *_, mode=mode, **__: mode)
        distill(spec, tmp_path / mode)
    assert sha256(student_of(tmp_path / "default")) == sha256(student_of(tmp_path / "reduce-overhead"))


@pytest.mark.usefixtures("cuda")
def test_a_step_does_not_synchronize(
    digits_idx: Path, teacher_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def errors_on_synchronization() -> Iterator[None]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    steps = guard_steps(monkeypatch, errors_on_synchronization)
    distill(factories.spec(digits_idx, teacher_file, training={"epochs": 1, "augmentation": AUGMENTATION}), tmp_path)
    assert len(steps) == 9


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_with_nccl_and_give_equal_students(digits_idx: Path, teacher_file: Path, tmp_path: Path) -> None:
    spec = factories.spec(digits_idx, teacher_file, training={"devices": 2})
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec.model_dump(mode="json")))
    for name in ("first", "second"):
        command = [sys.executable, "-m", "ttm_core", "distill", str(file), "--out", str(tmp_path / name)]
        subprocess.run(command, check=True)
    assert sha256(student_of(tmp_path / "first")) == sha256(student_of(tmp_path / "second"))
