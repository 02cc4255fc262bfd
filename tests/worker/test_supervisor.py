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
from worker.trainer.standby import Starter

MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(tmp_path: Path) -> MakeTrainer:
    def make(name: str = "steps=5", command: tuple[str, ...] = TINY_TRAINER) -> Trainer:
        (tmp_path / "run.json").write_text(json.dumps({"spec": spec(name=name), "inputs": {}}))
        starter = Starter(command, marks=stale.marks())
        return Trainer(starter, tmp_path, log=LogFile(tmp_path / "trainer.log", 10_000))

    return make


def everything(trainer: Trainer) -> list[Event | Exited]:
    items: list[Event | Exited] = []
    while not items or not isinstance(items[-1], Exited):
        item = trainer.next(timeout=20)
        assert item is not None, "the trainer fell silent"
        items.append(item)
    return items


def test_events_come_in_order_and_the_end_comes_last(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=5")
    trainer.start()
    items = everything(trainer)
    assert [item.step for item in items if isinstance(item, Progress)] == [1, 2, 3, 4, 5]
    assert isinstance(items[-2], Finished)
    assert items[-1] == Exited(0)


def test_asked_to_stop_it_saves_and_leaves(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=9999 step_seconds=0.02 checkpoint_every=9999")
    trainer.start()
    while not isinstance(trainer.next(timeout=20), Progress):
        pass
    trainer.stop()
    items = everything(trainer)
    assert isinstance(items[-3], CheckpointSaved)
    assert isinstance(items[-2], Stopped)
    assert items[-1] == Exited(3)


def test_kill_ends_the_whole_group(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=9999 step_seconds=0.02 child=1")
    trainer.start()
    while not isinstance(trainer.next(timeout=20), Progress):
        pass
    assert len(group_of(trainer.pid)) == 2
    trainer.kill()
    assert everything(trainer)[-1] == Exited(-signal.SIGKILL)
    assert group_of(trainer.pid) == []


def test_what_a_trainer_leaves_behind_ends_with_it(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=2 child=1")
    trainer.start()
    assert everything(trainer)[-1] == Exited(0)
    wait_until(lambda: group_of(trainer.pid) == [])


def test_a_stopped_trainer_is_killed_too(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=9999 step_seconds=0.02")
    trainer.start()
    while not isinstance(trainer.next(timeout=20), Progress):
        pass
    os.kill(trainer.pid, signal.SIGSTOP)
    trainer.end()
    assert group_of(trainer.pid) == []


def test_orders_to_a_trainer_that_is_gone_are_no_error(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=1")
    trainer.start()
    everything(trainer)
    trainer.stop()
    trainer.kill()
    trainer.end()


def test_what_is_no_event_is_passed_over(make_trainer: MakeTrainer, tmp_path: Path) -> None:
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
    assert everything(trainer) == [Stopped(step=7), Exited(0)]


def test_a_trainer_that_talks_much_is_not_held_up_and_its_newest_words_are_kept(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    program = tmp_path / "talk.py"
    program.write_text("for number in range(200_000): print('line', number)")
    trainer = make_trainer(command=(sys.executable, str(program)))
    trainer.start()
    assert everything(trainer) == [Exited(0)]
    kept = b"".join(LogFile(tmp_path / "trainer.log", 10_000).read())
    assert kept.endswith(b"line 199999\n")
    assert 0 < len(kept) <= 10_000


WORKER = """
import sys, time
from pathlib import Path
from worker.trainer import stale
from worker.trainer.log import LogFile
from worker.trainer.standby import Starter
from worker.trainer.process import Trainer
starter = Starter(sys.argv[2:], marks=stale.marks())
trainer = Trainer(starter, Path(sys.argv[1]), log=LogFile(Path(sys.argv[1], "log"), 10_000))
trainer.start()
print(trainer.pid, flush=True)
time.sleep(300)
"""


def test_a_trainer_dies_with_its_worker_and_the_next_worker_ends_the_rest(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps({"spec": spec(name="steps=9999 step_seconds=0.1 child=1"), "inputs": {}})
    )
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path), *TINY_TRAINER], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        trainer = int(worker.stdout.readline())
        wait_until(lambda: len(group_of(trainer)) == 2)
        assert stale.kill_orphans() == [], "its worker is alive"
        worker.kill()
    wait_until(lambda: trainer not in group_of(trainer))
    # The kernel's signal does not reach grandchildren.
    [left] = group_of(trainer)
    assert stale.kill_orphans() == [left]
    wait_until(lambda: group_of(trainer) == [])


def test_a_trainer_of_this_process_is_no_orphan(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("steps=9999 step_seconds=0.02")
    trainer.start()
    while not isinstance(trainer.next(timeout=20), Progress):
        pass
    assert stale.kill_orphans() == []
    time.sleep(0.1)
    assert group_of(trainer.pid) == [trainer.pid]
    trainer.end()
