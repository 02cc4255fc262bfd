"""A broker that dies, hangs or forgets: the database is the truth, so no job is."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_client

from tests.support.servers import start_redis
from tests.support.stack import Stack
from tests.support.tiny import wait_until
from tests.support.tiny_trainer import weights_after
from ttm_jobs.broker.embedded import EmbeddedBroker
from ttm_jobs.states import JobState


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """The test's own, since it is going to suffer."""
    broker = start_redis(tmp_path / "redis")
    yield broker
    os.kill(broker.pid, signal.SIGCONT)
    broker.stop()


@pytest.mark.fault("Redis killed and wiped")
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


@pytest.mark.fault("Redis hangs")
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


@pytest.mark.fault("Redis full")
def test_full_it_loses_no_job_and_whoever_ended_over_it_is_started_anew(stack: Stack, redis: EmbeddedBroker) -> None:
    client = redis_client.Redis.from_url(redis.url)
    dispatcher, worker = stack.start_dispatcher(), stack.start_worker()
    running = stack.submit("steps=100 step_seconds=0.02")
    wait_until(lambda: stack.step(running) > 3)
    client.config_set("maxmemory", 1)
    waiting = [stack.submit("steps=3") for _ in range(3)]
    stack.wait_for(running, JobState.SUCCEEDED)
    assert dispatcher.poll() is None
    client.config_set("maxmemory", 0)
    if worker.poll() is not None:
        stack.start_worker()
    for job_id in waiting:
        stack.wait_for(job_id, JobState.SUCCEEDED)
    assert all(len(stack.attempts(job_id)) == 1 for job_id in [running, *waiting])
