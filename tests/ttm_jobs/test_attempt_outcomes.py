from datetime import timedelta
from typing import Literal

import pytest
from sqlalchemy import Engine

from tests.support.factories import MINUTE, claimed, job_of, queued, running, state_of
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import ArtifactNotFound, LeaseLost
from ttm_jobs.models import Attempt
from ttm_jobs.repositories.jobs import control, crud, leases, lifecycle
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.jobs.lifecycle import Failure
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.states import JobState

CRASH = Failure("trainer_died", "Killed.", origin="system", retryable=True)
BAD_INPUT = Failure("bad_dataset", "No images.", origin="user", retryable=False)
STUDENT = PublishedFile("student.safetensors", "jobs/1/1/student.safetensors", "application/octet-stream", 3, "ab" * 32)

RequestKind = Literal["cancel", "pause"] | None


def running_with_request(engine: Engine, stop_request: RequestKind) -> Lease:
    lease = running(engine)
    with session_scope(engine) as session:
        match stop_request:
            case "cancel":
                control.request_cancel(session, lease.job_id)
            case "pause":
                control.request_pause(session, lease.job_id)
            case None:
                pass
    return lease


def outcome(engine: Engine, job_id: str) -> str | None:
    with read_scope(engine) as session:
        return crud.attempts(session, job_id)[-1].outcome


@pytest.mark.parametrize(
    ("stop_request", "state", "attempt_outcome", "published"),
    [
        (None, JobState.SUCCEEDED, "succeeded", True),
        ("pause", JobState.SUCCEEDED, "succeeded", True),
        ("cancel", JobState.CANCELLED, "cancelled", False),
    ],
)
def test_successful_trainer_with_a_pending_stop_request(
    engine: Engine, stop_request: RequestKind, state: JobState, attempt_outcome: str, published: bool
) -> None:
    lease = running_with_request(engine, stop_request)
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        assert lifecycle.succeeded(session, job, result={"steps": 3}, files=[STUDENT]) is state
    job = job_of(engine, lease.job_id)
    assert job.state is state
    assert job.finished_at is not None
    assert job.result == ({"steps": 3} if published else None)
    assert outcome(engine, lease.job_id) == attempt_outcome
    with read_scope(engine) as session:
        if published:
            assert artifacts.get(session, lease.job_id, artifacts.STUDENT).sha256 == "ab" * 32
        else:
            with pytest.raises(ArtifactNotFound):
                artifacts.get(session, lease.job_id, artifacts.STUDENT)


@pytest.mark.parametrize(
    ("stop_request", "state"), [(None, JobState.FAILED), ("pause", JobState.FAILED), ("cancel", JobState.CANCELLED)]
)
def test_user_error_with_a_pending_stop_request(engine: Engine, stop_request: RequestKind, state: JobState) -> None:
    lease = running_with_request(engine, stop_request)
    with session_scope(engine) as session:
        assert lifecycle.failed(session, leases.fence(session, lease), BAD_INPUT) is state
    job = job_of(engine, lease.job_id)
    assert (job.failure or {}).get("code") == (None if stop_request == "cancel" else "bad_dataset")


@pytest.mark.parametrize(
    ("stop_request", "state"), [(None, JobState.QUEUED), ("pause", JobState.PAUSED), ("cancel", JobState.CANCELLED)]
)
def test_infrastructure_error_with_a_pending_stop_request(
    engine: Engine, stop_request: RequestKind, state: JobState
) -> None:
    lease = running_with_request(engine, stop_request)
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        assert lifecycle.attempt_failed(session, job, CRASH, backoff=MINUTE) is state
    job = job_of(engine, lease.job_id)
    assert (job.attempt, job.failure) == (1, None)
    assert outcome(engine, lease.job_id) == ("cancelled" if stop_request == "cancel" else "error")


@pytest.mark.parametrize("stop_request", [None, "pause"])
def test_last_infrastructure_error_fails_the_job(engine: Engine, stop_request: RequestKind) -> None:
    lease = running(engine, max_attempts=1)
    with session_scope(engine) as session:
        if stop_request == "pause":
            control.request_pause(session, lease.job_id)
        lifecycle.attempt_failed(session, leases.fence(session, lease), CRASH, backoff=MINUTE)
    job = job_of(engine, lease.job_id)
    assert job.state is JobState.FAILED
    assert (job.failure or {})["code"] == "trainer_died"


def test_retry_backoff_doubles(engine: Engine) -> None:
    job_id = queued(engine, max_attempts=10)
    waits = []
    for _ in range(8):
        with session_scope(engine) as session:
            crud.get(session, job_id).not_before = None
        lease = claimed(engine, job_id)
        with session_scope(engine) as session:
            lifecycle.attempt_failed(session, leases.fence(session, lease), CRASH, backoff=timedelta(seconds=10))
        job = job_of(engine, job_id)
        assert job.not_before is not None
        waits.append((job.not_before - job.queued_at).total_seconds())
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600]


@pytest.mark.parametrize(
    ("stop_request", "state", "attempt_outcome"),
    [
        (None, JobState.QUEUED, "released"),
        ("pause", JobState.PAUSED, "paused"),
        ("cancel", JobState.CANCELLED, "cancelled"),
    ],
)
def test_release_is_not_a_failed_attempt(
    engine: Engine, stop_request: RequestKind, state: JobState, attempt_outcome: str
) -> None:
    lease = running_with_request(engine, stop_request)
    with session_scope(engine) as session:
        assert lifecycle.released(session, leases.fence(session, lease), reason="drained") is state
    job = job_of(engine, lease.job_id)
    assert job.attempt == 1
    assert outcome(engine, lease.job_id) == attempt_outcome


@pytest.mark.parametrize(
    ("stop_request", "state", "attempt_outcome"),
    [
        (None, JobState.QUEUED, "released"),
        ("pause", JobState.PAUSED, "paused"),
        ("cancel", JobState.CANCELLED, "cancelled"),
    ],
)
def test_restore_of_the_database_uses_up_no_attempt_and_no_device_time(
    engine: Engine, stop_request: RequestKind, state: JobState, attempt_outcome: str
) -> None:
    lease = running_with_request(engine, stop_request)
    waiting = queued(engine)
    with session_scope(engine) as session:
        # The dump is two hours old.
        job = leases.fence(session, lease)
        attempt = session.get_one(Attempt, (job.id, job.lease_epoch))
        attempt.started_at -= 121 * MINUTE
        job.heartbeat_at = attempt.started_at + MINUTE
        job.lease_until = job.heartbeat_at + MINUTE
    with session_scope(engine) as session:
        assert leases.release_all(session, reason="restored") == 1
    job = job_of(engine, lease.job_id)
    assert (job.state, job.attempt, job.device_seconds) == (state, 1, 60)
    assert outcome(engine, lease.job_id) == attempt_outcome
    assert state_of(engine, waiting) is JobState.QUEUED
    if state is JobState.QUEUED:
        claimed(engine, lease.job_id)
        assert job_of(engine, lease.job_id).attempt == 1
    with session_scope(engine) as session, pytest.raises(LeaseLost):
        # A worker that still runs cannot write under its previous lease.
        leases.fence(session, lease)


def test_repeated_draining_fails_no_job(engine: Engine) -> None:
    job_id = queued(engine, max_attempts=1)
    for epoch in range(1, 6):
        lease = claimed(engine, job_id)
        assert lease.epoch == epoch
        with session_scope(engine) as session:
            lifecycle.released(session, leases.fence(session, lease), reason="drained")
    assert state_of(engine, job_id) is JobState.QUEUED


def test_terminal_state_is_recorded_once(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        lifecycle.succeeded(session, leases.fence(session, lease), result={}, files=[STUDENT])
    with session_scope(engine) as session, pytest.raises(LeaseLost):
        leases.fence(session, lease)


def test_artifact_of_an_earlier_attempt_is_replaced_and_its_key_returned(engine: Engine) -> None:
    lease = running(engine)
    newer = PublishedFile("student.safetensors", "jobs/1/2/student.safetensors", "text/plain", 4, "cd" * 32)
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        assert artifacts.record(session, job, [STUDENT]) == []
        assert artifacts.record(session, job, [STUDENT]) == []
        assert artifacts.record(session, job, [newer]) == [STUDENT.key]
    with read_scope(engine) as session:
        [artifact] = artifacts.of_job(session, lease.job_id)
        assert (artifact.key, artifact.size) == (newer.key, 4)
