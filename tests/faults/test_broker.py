"""A broker that dies, hangs, is full or loses its data. Job state is in the database, so no job is lost."""

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
    """A separate broker for this test."""
    broker = start_redis(tmp_path / "redis")
    yield broker
    os.kill(broker.pid, signal.SIGCONT)
    broker.stop()


@pytest.mark.fault("Redis killed and wiped")
def test_jobs_survive_a_killed_and_wiped_broker(stack: Stack, redis: EmbeddedBroker) -> None:
    stack.start_dispatcher()
    stack.start_worker()
    running = stack.submit("steps=200 step_seconds=0.02")
    wait_until(lambda: stack.step(running) > 3)
    queued = [stack.submit("steps=3") for _ in range(3)]
    os.kill(redis.pid, signal.SIGKILL)
    redis.stop()
    shutil.rmtree(redis.directory)
    # Submitted while no broker is running.
    queued.append(stack.submit("steps=3"))
    wait_until(lambda: stack.step(running) > 50)
    redis.start()
    for job_id in [running, *queued]:
        stack.wait_for(job_id, JobState.SUCCEEDED)
        assert len(stack.attempts(job_id)) == 1
    assert stack.student(running) == weights_after(200, "0")


@pytest.mark.fault("Redis hangs")
@pytest.mark.thorough
def test_hanging_broker_blocks_neither_runs_nor_the_reaper(stack: Stack, redis: EmbeddedBroker) -> None:
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
def test_full_broker_loses_no_job_and_exited_workers_are_restarted(stack: Stack, redis: EmbeddedBroker) -> None:
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
