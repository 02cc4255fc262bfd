"""A trainer that waits for its work: used once, replaced when gone, never left behind."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.factories import spec
from tests.support.tiny import TINY_TRAINER, wait_until
from ttm_core.spec.events import Event, Failed, Finished
from worker.trainer import stale
from worker.trainer.log import LogFile
from worker.trainer.process import Exited, Trainer
from worker.trainer.standby import Starter

REAL_TRAINER = (sys.executable, "-m", "ttm_core", "run")


@pytest.fixture
def starter():
    made = Starter(TINY_TRAINER, marks=stale.marks(), standby=True)
    yield made
    made.end()


def run(starter: Starter, workdir: Path, name: str = "steps=3") -> tuple[int, list[Event | Exited]]:
    workdir.mkdir()
    (workdir / "run.json").write_text(
        json.dumps({"spec": spec(name=name), "inputs": {"dataset": "/nowhere", "teachers": [None]}})
    )
    trainer = Trainer(starter, workdir, log=LogFile(workdir / "trainer.log", 10_000))
    trainer.start()
    items: list[Event | Exited] = []
    while not items or not isinstance(items[-1], Exited):
        item = trainer.next(timeout=20)
        assert item is not None, "the trainer fell silent"
        items.append(item)
    return trainer.pid, items


def waiting(starter: Starter) -> int:
    assert starter._pending is not None
    return starter._pending.process.pid


def test_the_one_that_waits_takes_the_job_and_only_one(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    first = waiting(starter)
    starter.prepare()
    assert waiting(starter) == first, "one is enough"
    pid, items = run(starter, tmp_path / "1")
    assert pid == first
    assert isinstance(items[-2], Finished)
    pid, items = run(starter, tmp_path / "2")
    assert pid != first
    assert isinstance(items[-2], Finished)


def test_a_folder_may_have_any_name(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    _, items = run(starter, tmp_path / "Wörk dir -")
    assert isinstance(items[-2], Finished)


def test_one_that_died_waiting_is_no_loss(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    first = waiting(starter)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: starter._pending is not None and starter._pending.process.poll() is not None)
    pid, items = run(starter, tmp_path / "1")
    assert pid != first
    assert isinstance(items[-2], Finished)


def test_none_is_left_behind(starter: Starter) -> None:
    starter.prepare()
    pid = waiting(starter)
    starter.end()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks at what a process has loaded")
def test_the_real_trainer_has_loaded_torch_before_there_is_work(tmp_path: Path) -> None:
    starter = Starter(REAL_TRAINER, marks=stale.marks(), standby=True)
    starter.prepare()
    first = waiting(starter)
    try:
        wait_until(lambda: "libtorch" in Path(f"/proc/{first}/maps").read_text(), 120)
        pid, items = run(starter, tmp_path / "1", "x")
    finally:
        starter.end()
    assert pid == first
    failed = items[-2]
    assert isinstance(failed, Failed), "the inputs name no files"
    assert items[-1] == Exited(1)
