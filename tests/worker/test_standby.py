"""Standby trainers: used once, replaced if they exit, and stopped with the worker."""

import json
import os
import signal
import sys
from collections.abc import Sequence
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


def run(
    starter: Starter, workdir: Path, name: str = "steps=3", data_roots: Sequence[Path] | None = None
) -> tuple[int, list[Event | Exited]]:
    workdir.mkdir()
    (workdir / "run.json").write_text(
        json.dumps({"spec": spec(name=name), "inputs": {"dataset": "/nowhere", "teachers": [None]}})
    )
    trainer = Trainer(starter, workdir, log=LogFile(workdir / "trainer.log", 10_000))
    trainer.start(data_roots=data_roots)
    items: list[Event | Exited] = []
    while not items or not isinstance(items[-1], Exited):
        item = trainer.next(timeout=600)
        assert item is not None, "the trainer sent no event in time"
        items.append(item)
    return trainer.pid, items


def standby_pid(starter: Starter) -> int:
    assert starter._pending is not None
    return starter._pending.process.pid


def test_standby_trainer_takes_exactly_one_job(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    first = standby_pid(starter)
    starter.prepare()
    assert standby_pid(starter) == first, "there is one standby trainer at most"
    pid, items = run(starter, tmp_path / "1")
    assert pid == first
    assert isinstance(items[-2], Finished)
    pid, items = run(starter, tmp_path / "2")
    assert pid != first
    assert isinstance(items[-2], Finished)


def test_standby_trainer_takes_no_job_of_a_restricted_project(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    pid, items = run(starter, tmp_path / "1", data_roots=[tmp_path])
    assert isinstance(items[-2], Finished)
    first = standby_pid(starter)
    assert pid != first
    assert run(starter, tmp_path / "2")[0] == first, "it waits for the next job"


def test_work_directory_can_have_any_name(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    _, items = run(starter, tmp_path / "Wörk dir -")
    assert isinstance(items[-2], Finished)


def test_dead_standby_trainer_is_replaced(starter: Starter, tmp_path: Path) -> None:
    starter.prepare()
    first = standby_pid(starter)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: starter._pending is not None and starter._pending.process.poll() is not None)
    pid, items = run(starter, tmp_path / "1")
    assert pid != first
    assert isinstance(items[-2], Finished)


def test_standby_trainer_is_stopped_with_the_worker(starter: Starter) -> None:
    starter.prepare()
    pid = standby_pid(starter)
    starter.end()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads the loaded libraries from /proc")
def test_real_standby_trainer_imports_torch_in_advance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch creates this folder at import; the trainer cannot where the worker's environment names one that is forbidden.
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "forbidden"))
    starter = Starter(REAL_TRAINER, marks=stale.marks(), standby=True)
    starter.prepare()
    first = standby_pid(starter)
    try:
        wait_until(lambda: "libtorch" in Path(f"/proc/{first}/maps").read_text())
        pid, items = run(starter, tmp_path / "1", "x")
    finally:
        starter.end()
    assert pid == first
    failed = items[-2]
    assert isinstance(failed, Failed), "the inputs do not exist"
    assert items[-1] == Exited(1)
