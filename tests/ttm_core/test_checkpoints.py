"""Checkpoints are written in the background: unchanged by later steps, durable when announced, failures not lost."""

import hashlib
import threading
from pathlib import Path

import pytest
import torch

from tests.ttm_core import factories
from ttm_core.pipeline.checkpoint import CheckpointWriter, SavedCheckpoint
from ttm_core.pipeline.distill import distill
from ttm_core.spec import events

HANG = 600  # seconds


def test_a_checkpoint_is_the_state_of_its_step(tmp_path: Path) -> None:
    weights = torch.ones(1000)
    state = {"nested": [{"weights": weights}], "step": 1}
    saved: list[SavedCheckpoint] = []
    with CheckpointWriter(tmp_path) as writer:
        writer.save(1, state, best_step=None, on_saved=saved.append)
        weights.zero_()
    assert torch.equal(torch.load(saved[0].path, weights_only=True)["nested"][0]["weights"], torch.ones(1000))


def test_one_checkpoint_is_in_flight_at_most(tmp_path: Path) -> None:
    order: list[str] = []
    go_on = threading.Event()

    def announce(saved: SavedCheckpoint) -> None:
        go_on.wait(HANG)
        order.append(saved.path.name)

    with CheckpointWriter(tmp_path) as writer:
        writer.save(1, {}, best_step=None, on_saved=announce)
        writer.raise_failure()
        order.append("training goes on")
        go_on.set()
        writer.save(2, {}, best_step=None, on_saved=announce)
        assert order[:2] == ["training goes on", "step-000000001.pt"]
    assert order == ["training goes on", "step-000000001.pt", "step-000000002.pt"]


def fail_to_save(folder: Path, when: str) -> None:
    with CheckpointWriter(folder) as writer:
        writer.save(1, {}, best_step=None, on_saved=lambda saved: None)
        if when == "save":
            writer.save(2, {}, best_step=None, on_saved=lambda saved: None)
        if when == "check":
            assert writer._saving is not None
            writer._saving.exception(HANG)
            writer.raise_failure()
        if when != "end":
            pytest.fail("the failure was not raised")


@pytest.mark.parametrize("when", ["check", "save", "end"])
def test_a_failure_is_raised(tmp_path: Path, when: str) -> None:
    folder = tmp_path / "checkpoints"
    folder.write_text("not a folder")
    with pytest.raises(FileExistsError):
        fail_to_save(folder, when)


def test_events_announce_durable_checkpoints(digits_idx: Path, tmp_path: Path) -> None:
    announced: list[int] = []

    def check(event: events.Event) -> None:
        if isinstance(event, events.CheckpointSaved):
            content = (tmp_path / event.path).read_bytes()
            assert hashlib.sha256(content).hexdigest() == event.sha256
            assert torch.load(tmp_path / event.path, weights_only=True)["trainer"]["step"] == event.step
            announced.append(event.step)

    result = distill(factories.spec(digits_idx, training={"checkpoint_seconds": 0.001}), tmp_path, on_event=check)
    assert announced == list(range(1, result.steps + 1))


def test_a_run_that_cannot_save_fails(digits_idx: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("not a folder")
    emitted: list[events.Event] = []
    spec = factories.spec(digits_idx, training={"checkpoint_seconds": 0.001, "epochs": 1000})
    with pytest.raises(FileExistsError):
        distill(spec, tmp_path, on_event=emitted.append)
    assert not any(isinstance(event, events.CheckpointSaved | events.Finished) for event in emitted)
