"""Workers that die, freeze and resume."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.factories import state_of
from tests.support.processes import group_of, servers_of, trainers_of
from tests.support.stack import ServiceProcess, Stack
from tests.support.tiny import wait_until
from tests.support.tiny_trainer import weights_after
from ttm_jobs.broker.embedded import EmbeddedBroker
from ttm_jobs.broker.notifier import CeleryNotifier
from ttm_jobs.states import JobState

STEPS = 200
LONG = f"steps={STEPS} step_seconds=0.02 child=1"


def trainer_of(worker: ServiceProcess) -> int:
    """The process id (and process group) of a worker's trainer."""
    [trainer] = trainers_of(worker.pid)
    return trainer


@pytest.fixture(scope="module", params=["postgresql", pytest.param("sqlite", marks=pytest.mark.thorough)])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis: EmbeddedBroker
) -> Iterator[Stack]:
    """A dispatcher and one worker, shared by the tests that stop neither."""
    folder = tmp_path_factory.mktemp("running")
    with ExitStack() as resources:
        if request.param == "postgresql":
            url = resources.enter_context(request.getfixturevalue("postgres").migrated())
        else:
            url = f"sqlite:///{shutil.copy(request.getfixturevalue('sqlite_template'), folder / 'ttm.db')}"
        stack = resources.enter_context(Stack(folder, url, redis))
        stack.start_dispatcher()
        stack.start_worker()
        yield stack


@pytest.mark.fault("worker killed")
def test_job_of_a_killed_worker_is_resumed_to_the_same_student(stack: Stack) -> None:
    stack.start_dispatcher()
    first = stack.start_worker()
    job_id = stack.submit(LONG)
    wait_until(lambda: len(stack.checkpoints(job_id)) >= 2)
    trainer = trainer_of(first)
    assert len(group_of(trainer)) == 2
    first.kill()
    # The trainer dies with its worker, before another worker starts.
    wait_until(lambda: trainer not in group_of(trainer))
    # A worker on the same machine kills orphans of the trainer.
    stack.start_worker()
    wait_until(lambda: group_of(trainer) == [])
    stack.wait_for(job_id, JobState.SUCCEEDED)
    lost, won = stack.attempts(job_id)
    assert (lost.outcome, lost.code, won.outcome) == ("lost", "worker_lost", "succeeded")
    assert stack.student(job_id) == weights_after(STEPS, "0")
    assert stack.job(job_id).attempt == 2


@pytest.mark.fault("worker resumed after its lease expired")
def test_resumed_worker_process_with_expired_lease_writes_nothing(stack: Stack) -> None:
    stack.start_dispatcher()
    frozen = stack.start_worker()
    job_id = stack.submit(LONG)
    wait_until(lambda: len(stack.checkpoints(job_id)) >= 2)
    trainer = trainer_of(frozen)
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        stack.start_worker()
        wait_until(lambda: stack.job(job_id).lease_epoch == 2)
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    wait_until(lambda: group_of(trainer) == [])
    stack.wait_for(job_id, JobState.SUCCEEDED)
    assert stack.student(job_id) == weights_after(STEPS, "0")
    assert [attempt.outcome for attempt in stack.attempts(job_id)] == ["lost", "succeeded"]
    # The first attempt published nothing. A checkpoint that was being uploaded may exist without a row.
    left = [key for key in stack.storage.list(f"jobs/{job_id}/1") if "/checkpoints/" not in key]
    assert left == []
    # The worker continues with the next job.
    assert frozen.poll() is None


@pytest.mark.fault("trainer killed")
@pytest.mark.parametrize("killed", ["trainer", "fork server"])
def test_killed_trainer_uses_one_attempt_and_the_worker_continues(running: Stack, killed: str) -> None:
    worker = running.processes[1]
    job_id = running.submit(LONG)
    wait_until(lambda: len(running.checkpoints(job_id)) >= 2)
    trainer = trainer_of(worker)
    os.kill(trainer if killed == "trainer" else servers_of(worker.pid)[0], signal.SIGKILL)
    wait_until(lambda: group_of(trainer) == [])
    running.wait_for(job_id, JobState.SUCCEEDED)
    assert [(attempt.outcome, attempt.code) for attempt in running.attempts(job_id)] == [
        ("error", "trainer_died"),
        ("succeeded", None),
    ]
    assert running.student(job_id) == weights_after(STEPS, "0")
    assert worker.poll() is None


@pytest.mark.fault("poison job")
def test_poison_job_fails_and_other_jobs_continue(running: Stack) -> None:
    poison, good = running.submit("die_at=0"), running.submit("steps=3")
    running.wait_for(good, JobState.SUCCEEDED)
    assert (running.wait_for(poison, JobState.FAILED).failure or {})["code"] == "trainer_died"
    assert len(running.attempts(poison)) == 3


@pytest.mark.fault("wake-up message repeated")
def test_repeated_wake_up_message_to_two_workers_is_one_attempt(stack: Stack) -> None:
    stack.start_worker()
    stack.start_worker()
    settings = stack.environment(stack.directory)
    notifier = CeleryNotifier(settings["TTM_BROKER_URL"], settings["TTM_QUEUE_NAME"])
    job_id = stack.submit("steps=30 step_seconds=0.02")
    for _ in range(20):
        notifier.notify(job_id, priority=5)
    stack.wait_for(job_id, JobState.SUCCEEDED)
    assert len(stack.attempts(job_id)) == 1
    assert stack.student(job_id) == weights_after(30, "0")


@pytest.mark.fault("rolling deploy")
def test_sigterm_releases_the_job_to_another_worker(stack: Stack) -> None:
    stack.start_dispatcher()
    leaving = stack.start_worker()
    job_id = stack.submit("steps=150 step_seconds=0.02 checkpoint_every=999", max_attempts=1)
    wait_until(lambda: stack.step(job_id) > 5)
    leaving.terminate()
    assert leaving.wait(60) == 0
    assert (state_of(stack.engine, job_id), stack.job(job_id).attempt) == (JobState.QUEUED, 1)
    [saved] = stack.checkpoints(job_id)
    stack.start_worker()
    stack.wait_for(job_id, JobState.SUCCEEDED)
    assert stack.student(job_id) == weights_after(150, "0")
    assert saved.step > 5
    assert [attempt.outcome for attempt in stack.attempts(job_id)] == ["released", "succeeded"]


@pytest.mark.thorough
@pytest.mark.fault("trainer hangs")
@pytest.mark.stack_settings(progress_timeout_seconds=3)
def test_frozen_trainer_is_killed_while_its_worker_runs(stack: Stack) -> None:
    stack.start_dispatcher()
    worker = stack.start_worker()
    job_id = stack.submit(LONG)
    wait_until(lambda: len(stack.checkpoints(job_id)) >= 2)
    trainer = trainer_of(worker)
    os.kill(trainer, signal.SIGSTOP)
    wait_until(lambda: group_of(trainer) == [])
    stack.wait_for(job_id, JobState.SUCCEEDED)
    stalled, won = stack.attempts(job_id)
    assert (stalled.outcome, stalled.code, won.outcome) == ("error", "trainer_stalled", "succeeded")
    assert won.from_step == stalled.to_step or (won.from_step or 0) >= 5
    assert stack.student(job_id) == weights_after(STEPS, "0")


@pytest.mark.thorough
@pytest.mark.fault("out of memory")
@pytest.mark.stack_settings(trainer_memory_bytes=300 * 1024**2)
def test_trainer_over_its_memory_limit_is_reported_and_the_worker_continues(stack: Stack) -> None:
    stack.start_dispatcher()
    worker = stack.start_worker()
    big, small = stack.submit("steps=9999 step_seconds=0.02 hold_mib=400"), stack.submit("steps=3")
    failure = stack.wait_for(big, JobState.FAILED).failure or {}
    assert (failure["code"], failure["origin"]) == ("out_of_memory", "user")
    stack.wait_for(small, JobState.SUCCEEDED)
    assert worker.poll() is None


@pytest.mark.thorough
@pytest.mark.fault("clock jumps")
def test_worker_with_a_jumping_clock_keeps_its_lease_and_claims_no_other_job(stack: Stack) -> None:
    """The clock jumps a day forward and back repeatedly. Leases use the database clock."""
    stack.start_dispatcher()
    stack.start_worker("tests.support.shifted_worker")
    stack.start_worker()
    job_ids = [stack.submit("steps=150 step_seconds=0.05") for _ in range(2)]
    for job_id in job_ids:
        wait_until(lambda job_id=job_id: stack.job(job_id).lease_until is not None)
        lease = stack.job(job_id)
        assert lease.lease_until is not None
        assert lease.heartbeat_at is not None
        assert (lease.lease_until - lease.heartbeat_at).total_seconds() == pytest.approx(5, abs=0.01)
    for job_id in job_ids:
        stack.wait_for(job_id, JobState.SUCCEEDED)
        assert [attempt.outcome for attempt in stack.attempts(job_id)] == ["succeeded"]
        assert stack.student(job_id) == weights_after(150, "0")


@pytest.mark.fault("machine suspended")
def test_suspended_service_loses_no_attempt(stack: Stack) -> None:
    processes = stack.start_dispatcher(), stack.start_worker()
    job_id = stack.submit("steps=300 step_seconds=0.05 checkpoint_every=20")
    wait_until(lambda: stack.step(job_id) > 5)
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    time.sleep(7)
    for process in processes:  # the dispatcher runs first
        process.send_signal(signal.SIGCONT)
        time.sleep(0.5)
    stack.wait_for(job_id, JobState.SUCCEEDED)
    assert stack.student(job_id) == weights_after(300, "0")
    assert {attempt.outcome for attempt in stack.attempts(job_id)} <= {"released", "succeeded"}
    assert stack.job(job_id).attempt == 1
