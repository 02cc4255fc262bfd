"""The fake trainer of the worker's tests and the real engine emit the same grammar of events for the same spec."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from tests.support import tiny_trainer
from tests.ttm_core import factories
from ttm_core.spec import events

TRAINERS = {
    "engine": (sys.executable, "-m", "ttm_core", "run"),
    "fake": (sys.executable, tiny_trainer.__file__),
}
TERMINAL = (events.Finished, events.Stopped, events.Failed)
PHASES = get_args(events.Phase)


@pytest.fixture(scope="module", params=TRAINERS)
def emitted(request, digits_idx, tmp_path_factory) -> tuple[Path, list[events.Event]]:
    workdir = tmp_path_factory.mktemp(request.param)
    spec = factories.spec(digits_idx, name="steps=20", training={"checkpoint_seconds": 0.001})
    inputs = {"teachers": [], "student": None, "dataset": str(digits_idx)}
    (workdir / "run.json").write_text(json.dumps({"spec": spec.model_dump(mode="json"), "inputs": inputs}))
    read, write = os.pipe()
    process = subprocess.Popen(
        [*TRAINERS[request.param], str(workdir), "--events-fd", str(write)],
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with open(read, "rb") as stream:
        found = [events.decode(line) for line in stream]
    assert process.wait(timeout=600) == 0
    return workdir, found


def test_order_of_events(emitted):
    _, found = emitted
    kinds = [event.kind for event in found]
    phases = [event.phase for event in found if isinstance(event, events.PhaseChanged)]
    assert phases == sorted(phases, key=PHASES.index)
    assert kinds[0] == "phase"
    assert kinds.count("resolved") == 1
    resolved = kinds.index("resolved")
    assert kinds.count("teacher_measured") <= 1
    assert "teacher_measured" not in kinds[resolved:]
    assert {"progress", "metrics", "checkpoint"}.isdisjoint(kinds[:resolved])
    assert {"progress", "metrics", "checkpoint"} <= set(kinds[resolved:])
    assert [type(event) for event in found if isinstance(event, TERMINAL)] == [events.Finished]
    assert kinds[-1] == "finished"


def test_steps_and_required_values(emitted):
    _, found = emitted
    resolved = next(event for event in found if isinstance(event, events.Resolved))
    assert resolved.spec.training.threads is not None
    for kind in (events.Progress, events.Metrics, events.CheckpointSaved):
        steps = [event.step for event in found if isinstance(event, kind)]
        assert steps == sorted(steps)
        assert 0 < steps[-1] <= resolved.total_steps
    assert all(event.total_steps == resolved.total_steps for event in found if isinstance(event, events.Progress))
    assert any("train/loss" in event.values for event in found if isinstance(event, events.Metrics))
    result = found[-1].result
    assert result.steps == resolved.total_steps
    assert {"student.safetensors", "report.json"} <= {artifact.name for artifact in result.artifacts}


def test_best_checkpoints(emitted):
    """Each best checkpoint replaces the previous one; the last one belongs to the best epoch of the result."""
    workdir, found = emitted
    saved = [event for event in found if isinstance(event, events.CheckpointSaved)]
    assert len({event.step for event in saved}) == len(saved), "one checkpoint a step"
    best = [event for event in saved if event.best]
    assert best
    assert best[-1].epoch == found[-1].result.best_epoch
    for event in (best[-1], saved[-1]):
        assert (workdir / event.path).stat().st_size == event.size
