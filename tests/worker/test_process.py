"""Real Celery workers and a real dispatcher over a real broker, with the tiny trainer."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from tests.support.servers import PostgresServer
from tests.support.stack import Stack
from tests.support.tiny import wait_until
from tests.support.tiny_trainer import weights_after
from ttm_jobs.broker.embedded import EmbeddedBroker
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.models import OutboxMessage
from ttm_jobs.repositories.jobs import control
from ttm_jobs.states import JobState

LONG = "steps=9999 step_seconds=0.02"


def pending_messages(stack: Stack) -> int:
    """The number of wake-up messages that the dispatcher has not sent yet."""
    with read_scope(stack.engine) as session:
        return session.query(OutboxMessage).count()


def lines(path: Path) -> list[dict[str, Any]]:
    """The records of a log. Fails if one is not JSON."""
    # Standard error goes to the same file: Celery's warning about root and its shutdown message.
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """PostgreSQL, as in production. The runner's tests cover both databases."""
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, redis: EmbeddedBroker
) -> Iterator[Stack]:
    """A dispatcher and one worker, shared by the tests that leave them idle. Wake-up messages are never repeated."""
    folder = tmp_path_factory.mktemp("running")
    with postgres.migrated() as url, Stack(folder, url, redis, renotify_seconds=600) as stack:
        stack.start_dispatcher()
        stack.start_worker()
        yield stack


def test_queued_job_runs_to_its_student(running: Stack) -> None:
    job_id = running.submit("steps=15")
    running.wait_for(job_id, JobState.SUCCEEDED)
    assert running.student(job_id) == weights_after(15, "0")


def test_log_lines_of_a_run_carry_its_ids(running: Stack) -> None:
    job_id = running.submit("steps=2")
    running.wait_for(job_id, JobState.SUCCEEDED)
    [worker_id] = [attempt.worker_id for attempt in running.attempts(job_id)]

    def of_the_run() -> list[dict[str, Any]]:
        return [line for line in records() if line.get("job_id") == job_id and "succeeded" in line["event"]]

    def records() -> list[dict[str, Any]]:
        return lines(running.directory / "worker-1.log")

    wait_until(of_the_run)
    [end] = of_the_run()
    assert (end["attempt"], end["worker_id"]) == (1, worker_id)
    assert (end["level"], end["logger"]) == ("info", "worker.run.runner")
    assert any(line["logger"].startswith("celery") for line in records())


def test_busy_worker_leaves_wake_up_messages_to_idle_workers(running: Stack) -> None:
    client = redis_client.Redis.from_url(running.broker.url)
    queue = str(running.environment(running.directory)["TTM_QUEUE_NAME"])

    def in_broker() -> int:
        return sum(client.llen(key) for key in client.keys(f"{queue}*"))

    def unacknowledged() -> list[bytes]:
        # The broker is shared with workers that earlier tests killed.
        return [message for message in client.hvals("unacked") if queue.encode() in message]

    wait_until(lambda: in_broker() == 0)
    busy_with = running.submit(LONG)
    try:
        running.wait_for(busy_with, JobState.RUNNING)
        waiting = [running.submit("steps=2") for _ in range(3)]
        wait_until(lambda: pending_messages(running) == 0)
        # The worker acknowledges the message of a job soon after the job runs.
        wait_until(lambda: not unacknowledged())
        # The messages remain in the broker, where another worker receives them.
        assert in_broker() == 3
        idle = running.start_worker()
        try:
            for job_id in waiting:
                running.wait_for(job_id, JobState.SUCCEEDED)
            assert running.job(busy_with).state is JobState.RUNNING, running.attempts(busy_with)[0].message
        finally:
            idle.terminate()
            idle.wait(60)
    finally:
        with session_scope(running.engine) as session:
            control.request_cancel(session, busy_with)
    running.wait_for(busy_with, JobState.CANCELLED)


def test_cancel_request_reaches_the_trainer_of_another_process(running: Stack) -> None:
    job_id = running.submit(LONG)
    wait_until(lambda: running.step(job_id) > 3)
    with session_scope(running.engine) as session:
        control.request_cancel(session, job_id)
    running.wait_for(job_id, JobState.CANCELLED)
    # The worker takes the next job.
    running.wait_for(running.submit("steps=2"), JobState.SUCCEEDED)


def test_user_error_fails_the_job_and_the_worker_continues(running: Stack) -> None:
    bad, good = running.submit("fail_at=2"), running.submit("steps=2")
    assert (running.wait_for(bad, JobState.FAILED).failure or {})["code"] == "bad_dataset"
    running.wait_for(good, JobState.SUCCEEDED)


@pytest.mark.thorough
def test_worker_drains_while_the_broker_hangs(stack: Stack) -> None:
    stack.start_dispatcher()
    worker = stack.start_worker()
    job_id = stack.submit(LONG)
    wait_until(lambda: stack.step(job_id) > 3)
    os.kill(stack.broker.pid, signal.SIGSTOP)
    try:
        worker.terminate()
        stack.wait_for(job_id, JobState.QUEUED)
        worker.wait(120)
    finally:
        os.kill(stack.broker.pid, signal.SIGCONT)


def test_worker_registers_itself(running: Stack) -> None:
    wait_until(lambda: running.workers()[0].job_id is None)
    [worker] = running.workers()
    assert worker.pid == running.processes[1].pid
    [device] = worker.devices
    assert device["count"] >= 1
    assert device["memory_bytes"] > 2**28
    assert worker.queues == ["default"]


def test_worker_without_write_access_does_not_start(stack: Stack) -> None:
    (stack.directory / "storage").write_text("in the way")
    worker = stack.start("broken", "tests.support.tiny_worker", stack.directory / "work")
    assert worker.wait(60) == 1


def test_worker_process_does_not_import_torch(stack: Stack) -> None:
    code = "import sys, worker.tasks, worker.dispatcher; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=stack.environment(stack.directory), check=True)


def test_worker_claims_the_jobs_of_its_queues_by_priority(
    tmp_path: Path, postgresql_url: str, redis: EmbeddedBroker
) -> None:
    with Stack(tmp_path, postgresql_url, redis, queues="gpu-80g,gpu") as stack:
        dispatcher = stack.start_dispatcher()
        elsewhere = stack.submit("steps=1", queue="cpu", priority=9)
        job_ids = {
            priority: stack.submit("steps=1", queue=queue, priority=priority)
            for priority, queue in ((0, "gpu"), (9, "gpu-80g"), (5, "gpu"))
        }
        # All wake-up messages are sent before a worker listens.
        wait_until(lambda: pending_messages(stack) == 0)
        # A dispatcher that sends one again locks its job, and a claim takes the next job instead.
        dispatcher.terminate()
        dispatcher.wait(60)
        lines(stack.directory / "dispatcher.log")
        worker = stack.start_worker()
        for job_id in job_ids.values():
            stack.wait_for(job_id, JobState.SUCCEEDED)
        started = {priority: stack.job(job_id).started_at for priority, job_id in job_ids.items()}
        assert started[9] < started[5] < started[0]  # type: ignore[operator]
        assert (stack.job(elsewhere).state, stack.job(elsewhere).attempt) == (JobState.QUEUED, 0)
        # The worker unregisters at shutdown.
        worker.terminate()
        assert worker.wait(60) == 0
        assert stack.workers() == []
