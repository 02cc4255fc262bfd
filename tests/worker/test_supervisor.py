import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.factories import spec
from tests.support.processes import group_of
from tests.support.tiny import TINY_TRAINER, wait_until
from ttm_core.spec.events import CheckpointSaved, Event, Finished, Progress, Stopped
from worker.trainer import stale
from worker.trainer.log import LogFile
from worker.trainer.process import Exited, Trainer
from worker.trainer.starter import Starter

MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(tmp_path: Path) -> MakeTrainer:
    def make(name: str = "steps=5", command: tuple[str, ...] = TINY_TRAINER) -> Trainer:
        (tmp_path / "run.json").write_text(json.dumps({"spec": spec(name=name), "inputs": {}}))
        starter = Starter(command, marks=stale.marks())
        return Trainer(starter, tmp_path, log=LogFile(tmp_path / "trainer.log", 10_000))

    return make


def all_events(trainer: Trainer) -> list[Event | Exited]:
    items: list[Event | Exited] = []
    while not items or not isinstance(items[-1], Exited):
        item = trainer.next(timeout=600)
        assert item is not None, "the trainer sent no event in time"
        items.append(item)
    return items


def test_events_arrive_in_order_and_exit_is_last(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=5")
    trainer.start()
    items = all_events(trainer)
    assert [item.step for item in items if isinstance(item, Progress)] == [1, 2, 3, 4, 5]
    assert isinstance(items[-2], Finished)
    assert items[-1] == Exited(0)


def test_trainer_saves_and_exits_on_a_stop_request(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=9999 step_seconds=0.02 checkpoint_every=9999")
    trainer.start()
    while not isinstance(trainer.next(timeout=600), Progress):
        pass
    trainer.stop()
    items = all_events(trainer)
    assert isinstance(items[-3], CheckpointSaved)
    assert isinstance(items[-2], Stopped)
    assert items[-1] == Exited(3)


def test_kill_ends_the_process_group(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=9999 step_seconds=0.02 child=1")
    trainer.start()
    while not isinstance(trainer.next(timeout=600), Progress):
        pass
    assert len(group_of(trainer.pid)) == 2
    trainer.kill()
    assert all_events(trainer)[-1] == Exited(-signal.SIGKILL)
    wait_until(lambda: group_of(trainer.pid) == [])


def test_child_processes_end_with_the_trainer(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=2 child=1")
    trainer.start()
    assert all_events(trainer)[-1] == Exited(0)
    wait_until(lambda: group_of(trainer.pid) == [])


def test_suspended_trainer_is_killed(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=9999 step_seconds=0.02")
    trainer.start()
    while not isinstance(trainer.next(timeout=600), Progress):
        pass
    os.kill(trainer.pid, signal.SIGSTOP)
    trainer.end()
    wait_until(lambda: group_of(trainer.pid) == [])


def test_signals_to_an_exited_trainer_are_ignored(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=1")
    trainer.start()
    all_events(trainer)
    trainer.stop()
    trainer.kill()
    trainer.end()


def test_invalid_events_are_skipped(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    program = tmp_path / "babble.py"
    lines = [
        b"not json\n",
        b'{"kind": "unheard of"}\n',
        b'{"kind": "store_requested", "digest": "../../elsewhere"}\n',
        b"\xff\xfe\n",
        b'{"kind":"stopped","step":7}\n',
        b'{"kind": "pha',
    ]
    program.write_text(f"import os, sys\nfor line in {lines!r}: os.write(int(sys.argv[3]), line)")
    trainer = make_trainer(command=(sys.executable, str(program)))
    trainer.start()
    assert all_events(trainer) == [Stopped(step=7), Exited(0)]


def test_verbose_trainer_is_not_blocked_and_its_newest_output_is_kept(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    program = tmp_path / "talk.py"
    program.write_text("for number in range(200_000): print('line', number)")
    trainer = make_trainer(command=(sys.executable, str(program)))
    trainer.start()
    assert all_events(trainer) == [Exited(0)]
    kept = b"".join(LogFile(tmp_path / "trainer.log", 10_000).read())
    assert kept.endswith(b"line 199999\n")
    assert 0 < len(kept) <= 10_000


WORKER = """
import sys, time
from pathlib import Path
from ttm_jobs.settings import Settings
from worker.trainer import stale
from worker.trainer.log import LogFile
from worker.trainer.starter import Starter
from worker.trainer.process import Trainer
folder, isolation, *command = sys.argv[1:]
settings = Settings(work_dir=folder, trainer_isolation=isolation)
starter = Starter(command, marks=stale.marks(), settings=settings)
trainer = Trainer(starter, Path(folder), log=LogFile(Path(folder, "log"), 10_000))
trainer.start()
print(trainer.pid, flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("isolation", ["auto", "off"])
def test_trainer_dies_with_its_worker_and_the_next_worker_kills_orphans(tmp_path: Path, isolation: str) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps({"spec": spec(name="steps=9999 step_seconds=0.1 child=1"), "inputs": {}})
    )
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path), isolation, *TINY_TRAINER], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        trainer = int(worker.stdout.readline())
        wait_until(lambda: len(group_of(trainer)) == 2)
        assert stale.kill_orphans() == [], "its worker is running"
        worker.kill()
    wait_until(lambda: trainer not in group_of(trainer))
    # The parent-death signal does not reach grandchildren.
    [left] = group_of(trainer)
    assert stale.kill_orphans() == [left]
    wait_until(lambda: group_of(trainer) == [])


def test_trainer_of_this_process_is_not_an_orphan(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=9999 step_seconds=0.02")
    trainer.start()
    while not isinstance(trainer.next(timeout=600), Progress):
        pass
    # Other tests leave orphans of their own.
    assert trainer.pid not in stale.kill_orphans()
    time.sleep(0.1)
    assert group_of(trainer.pid) == [trainer.pid]
    trainer.end()
