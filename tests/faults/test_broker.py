"""A broker that dies, hangs or forgets: the database is the truth, so no job is."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import start_redis
from tests.support.stack import Stack
from tests.support.tiny import wait_until
from tests.support.tiny_trainer import weights_after
from ttm_jobs.embedded import EmbeddedBroker
from ttm_jobs.states import JobState


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """The test's own, since it is going to suffer."""
    broker = start_redis(tmp_path / "redis")
    yield broker
    os.kill(broker.pid, signal.SIGCONT)
    broker.stop()


def test_killed_and_wiped_with_jobs_running_and_queued(stack: Stack, redis: EmbeddedBroker) -> None:
    stack.start_dispatcher()
    stack.start_worker()
    running = stack.submit("steps=200 step_seconds=0.02")
    wait_until(lambda: stack.step(running) > 3)
    queued = [stack.submit("steps=3") for _ in range(3)]
    os.kill(redis.pid, signal.SIGKILL)
    redis.stop()
    shutil.rmtree(redis.directory)
    # Accepted while there is no broker at all.
    queued.append(stack.submit("steps=3"))
    wait_until(lambda: stack.step(running) > 50)
    redis.start()
    for job_id in [running, *queued]:
        stack.wait_for(job_id, JobState.SUCCEEDED)
        assert len(stack.attempts(job_id)) == 1
    assert stack.student(running) == weights_after(200, "0")


def test_hanging_it_holds_up_neither_a_run_nor_the_reaper(stack: Stack, redis: EmbeddedBroker) -> None:
    stack.start_dispatcher()
    worker = stack.start_worker()
    running = stack.submit("steps=100 step_seconds=0.02")
    wait_until(lambda: stack.step(running) > 3)
    os.kill(redis.pid, signal.SIGSTOP)
    stack.wait_for(running, JobState.SUCCEEDED)
    lost = stack.submit("steps=3")
    os.kill(redis.pid, signal.SIGCONT)
    stack.wait_for(lost, JobState.SUCCEEDED)
    assert worker.poll() is None
