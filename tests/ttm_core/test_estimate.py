"""The estimate: told before the first step, kept over attempts, and without a trace in the run itself."""

import hashlib
from pathlib import Path

import pytest

from tests.ttm_core import factories
from ttm_core.pipeline import distill as pipeline
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


def test_it_is_told_before_the_first_step_and_stands_in_the_report(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, training=TRAINING)
    told: list[events.Event] = []
    distill(spec, tmp_path / "run", stores=Stores(tmp_path / "stores"), on_event=told.append)
    kinds = [event.kind for event in told]
    planned = next(event for event in told if isinstance(event, events.Resolved))
    assert kinds.index("resolved") < kinds.index("metrics")
    assert planned.estimate is not None
    assert planned.estimate.seconds > planned.total_steps * planned.estimate.step_seconds
    assert planned.estimate.memory_bytes > 50 * 2**20
    (store,) = list_stores(tmp_path / "stores")
    assert planned.estimate.store_bytes == pytest.approx(store.bytes, abs=20_000)  # blocks of the file system

    run = report_of(tmp_path / "run").run
    assert run.estimate == planned.estimate
    assert run.training_seconds is not None
    assert 0 < run.training_seconds < run.seconds
    assert run.estimate.seconds == pytest.approx(run.training_seconds, rel=9)  # the machine may be busy


def test_a_full_store_costs_no_time(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, training=TRAINING)
    costs = []
    for name in ("cold", "warm"):
        told: list[events.Event] = []
        distill(spec, tmp_path / name, stores=Stores(tmp_path / "stores"), on_event=told.append)
        planned = next(event for event in told if isinstance(event, events.Resolved))
        assert planned.estimate is not None
        costs.append(planned.estimate.teacher_seconds)
    assert costs[0] > 0
    assert costs[1] == 0


@pytest.mark.parametrize("method", ["wttm", {"kind": "wttm", "features": {"kind": "crd", "dim": 8, "negatives": 16}}])
def test_a_run_is_the_same_without_it(digits_idx, teacher_file, tmp_path, monkeypatch, method):
    spec = factories.spec(digits_idx, teacher_file, method=method, training=TRAINING)
    distill(spec, tmp_path / "with")
    nothing = events.Estimate(seconds=0, step_seconds=0, teacher_seconds=0, store_bytes=0, memory_bytes=0)
    monkeypatch.setattr(pipeline, "estimate", lambda *told: nothing)
    distill(spec, tmp_path / "without")
    assert sha256(tmp_path / "with") == sha256(tmp_path / "without")


def test_a_resumed_run_keeps_it_and_adds_its_time(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, training=TRAINING)
    left = iter(range(12, -1, -1))
    told: list[events.Event] = []
    with pytest.raises(Interrupted):
        distill(spec, tmp_path / "run", on_event=told.append, should_stop=lambda: next(left) == 0)
    distill(spec, tmp_path / "run", on_event=told.append)
    estimates = [event.estimate for event in told if isinstance(event, events.Resolved)]
    assert len(estimates) == 2
    assert estimates[0] == estimates[1]
    run = report_of(tmp_path / "run").run
    assert run.estimate == estimates[0]
    assert run.training_seconds is not None
    assert run.training_seconds > 0
