"""Workers that die, freeze and come back."""

import os
import signal
import subprocess
import time

import pytest

from tests.support.processes import children_of, group_of
from tests.support.stack import Stack
from tests.support.tiny import wait_until
from tests.support.tiny_trainer import weights_after
from ttm_jobs.states import JobState

STEPS = 200
LONG = f"steps={STEPS} step_seconds=0.02 child=1"


def trainer_of(worker: "subprocess.Popen[bytes]") -> int:
    """The trainer that a worker runs, which is also its process group."""
    return next(pid for pid in children_of(worker.pid) if os.getpgid(pid) == pid)


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_a_killed_workers_job_is_resumed_by_another_to_the_same_student(stack: Stack) -> None:
    stack.start_dispatcher()
    first = stack.start_worker()
    job_id = stack.submit(LONG)
    wait_until(lambda: len(stack.checkpoints(job_id)) >= 2)
    trainer = trainer_of(first)
    assert len(group_of(trainer)) == 2
    first.kill()
    killed = time.monotonic()
    wait_until(lambda: trainer not in group_of(trainer), seconds=2)
    # On the same machine: it ends what the trainer had started.
    stack.start_worker()
    assert group_of(trainer) == []
    stack.wait_for(job_id, JobState.SUCCEEDED)
    lost, won = stack.attempts(job_id)
    assert (lost.outcome, lost.code, won.outcome) == ("lost", "worker_lost", "succeeded")
    assert stack.student(job_id) == weights_after(STEPS, "0")
    assert stack.job(job_id).attempt == 2
    assert time.monotonic() - killed < 40


def test_a_worker_that_comes_back_from_the_dead_changes_nothing(stack: Stack) -> None:
    stack.start_dispatcher()
    frozen = stack.start_worker()
    job_id = stack.submit(LONG)
    wait_until(lambda: len(stack.checkpoints(job_id)) >= 2)
    trainer = trainer_of(frozen)
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        stack.start_worker()
        wait_until(lambda: stack.job(job_id).lease_epoch == 2, seconds=30)
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    wait_until(lambda: group_of(trainer) == [])
    stack.wait_for(job_id, JobState.SUCCEEDED)
    assert stack.student(job_id) == weights_after(STEPS, "0")
    assert [attempt.outcome for attempt in stack.attempts(job_id)] == ["lost", "succeeded"]
    # The first attempt published nothing; a checkpoint on its way when it was frozen may lie there, which no row names.
    left = [key for key in stack.storage.list(f"jobs/{job_id}/1") if "/checkpoints/" not in key]
    assert left == []
    # It lives, and takes the next job.
    assert frozen.poll() is None


def test_a_killed_trainer_is_an_attempt_and_the_worker_goes_on(stack: Stack) -> None:
    stack.start_dispatcher()
    worker = stack.start_worker()
    job_id = stack.submit(LONG)
    wait_until(lambda: len(stack.checkpoints(job_id)) >= 2)
    trainer = trainer_of(worker)
    os.kill(trainer, signal.SIGKILL)
    wait_until(lambda: group_of(trainer) == [])
    stack.wait_for(job_id, JobState.SUCCEEDED)
    assert [(attempt.outcome, attempt.code) for attempt in stack.attempts(job_id)] == [
        ("error", "trainer_died"),
        ("succeeded", None),
    ]
    assert stack.student(job_id) == weights_after(STEPS, "0")
    assert worker.poll() is None


def test_a_poison_job_stops_and_others_go_on(stack: Stack) -> None:
    stack.start_dispatcher()
    stack.start_worker()
    poison, good = stack.submit("die_at=0"), stack.submit("steps=3")
    stack.wait_for(good, JobState.SUCCEEDED)
    assert (stack.wait_for(poison, JobState.FAILED).failure or {})["code"] == "trainer_died"
    assert len(stack.attempts(poison)) == 3
