"""The estimate of a run: emitted before the first step, kept over attempts, without effect on the result."""

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ttm_core import factories
from ttm_core.data.views import Views
from ttm_core.pipeline import train
from ttm_core.pipeline.distill import distill
from ttm_core.report.schema import Report
from ttm_core.spec import events
from ttm_core.teacher_store.store import Stores, list_stores
from ttm_core.training.trainer import Interrupted

TRAINING = {"epochs": 3, "augmentation": {"kind": "crop_flip", "padding": 1}}


def report_of(workdir: Path) -> Report:
    return Report.model_validate_json((workdir / "out" / "report.json").read_bytes())


def sha256(workdir: Path) -> str:
    return hashlib.sha256((workdir / "out" / "student.safetensors").read_bytes()).hexdigest()


def test_estimate_is_emitted_before_the_first_step_and_reported(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, training=TRAINING)
    emitted: list[events.Event] = []
    distill(spec, tmp_path / "run", stores=Stores(tmp_path / "stores"), on_event=emitted.append)
    kinds = [event.kind for event in emitted]
    resolved = next(event for event in emitted if isinstance(event, events.Resolved))
    assert kinds.index("resolved") < kinds.index("metrics")
    assert resolved.estimate is not None
    assert resolved.estimate.seconds > resolved.total_steps * resolved.estimate.step_seconds
    assert resolved.estimate.memory_bytes > 50 * 2**20
    (store,) = list_stores(tmp_path / "stores")
    assert resolved.estimate.store_bytes == pytest.approx(store.bytes, abs=20_000)  # blocks of the file system

    run = report_of(tmp_path / "run").run
    assert run.estimate == resolved.estimate
    assert run.training_seconds is not None
    assert 0 < run.training_seconds < run.seconds
    assert run.estimate.seconds == pytest.approx(run.training_seconds, rel=9)  # the machine may be busy


def test_full_store_has_no_teacher_seconds(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, training=TRAINING)
    costs = []
    for name in ("cold", "warm"):
        emitted: list[events.Event] = []
        distill(spec, tmp_path / name, stores=Stores(tmp_path / "stores"), on_event=emitted.append)
        resolved = next(event for event in emitted if isinstance(event, events.Resolved))
        assert resolved.estimate is not None
        costs.append(resolved.estimate.teacher_seconds)
    assert costs[0] > 0
    assert costs[1] == 0


def test_teacher_seconds_include_making_the_views(digits_idx, teacher_file, tmp_path, monkeypatch):
    batch = Views.batch

    def slow(views: Views, *arguments: Any) -> torch.Tensor:
        time.sleep(0.5)
        return batch(views, *arguments)

    monkeypatch.setattr(Views, "batch", slow)
    emitted: list[events.Event] = []
    spec = factories.spec(digits_idx, teacher_file, training=TRAINING)
    distill(spec, tmp_path / "run", stores=Stores(tmp_path / "stores"), on_event=emitted.append)
    resolved = next(event for event in emitted if isinstance(event, events.Resolved))
    assert resolved.estimate.teacher_seconds > 700 / 32 * 0.5  # of 32 images at once


@pytest.mark.parametrize("method", ["wttm", {"kind": "wttm", "features": {"kind": "crd", "dim": 8, "negatives": 16}}])
def test_estimate_does_not_change_the_student(digits_idx, teacher_file, tmp_path, monkeypatch, method):
    spec = factories.spec(digits_idx, teacher_file, method=method, training=TRAINING)
    distill(spec, tmp_path / "with")
    nothing = events.Estimate(seconds=0, step_seconds=0, teacher_seconds=0, store_bytes=0, memory_bytes=0)
    monkeypatch.setattr(train, "estimate", lambda *arguments: nothing)
    distill(spec, tmp_path / "without")
    assert sha256(tmp_path / "with") == sha256(tmp_path / "without")


def test_resumed_run_keeps_the_estimate_and_adds_its_time(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, training=TRAINING)
    left = iter(range(12, -1, -1))
    emitted: list[events.Event] = []
    with pytest.raises(Interrupted):
        distill(spec, tmp_path / "run", on_event=emitted.append, should_stop=lambda: next(left) == 0)
    distill(spec, tmp_path / "run", on_event=emitted.append)
    estimates = [event.estimate for event in emitted if isinstance(event, events.Resolved)]
    assert len(estimates) == 2
    assert estimates[0] == estimates[1]
    run = report_of(tmp_path / "run").run
    assert run.estimate == estimates[0]
    assert run.training_seconds is not None
    assert run.training_seconds > 0
