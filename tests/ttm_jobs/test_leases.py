from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import Engine

from tests.support.factories import MINUTE, NO_TIME, claimed, job_of, queued, running, state_of
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.errors import LeaseLost
from ttm_jobs.models import OutboxMessage
from ttm_jobs.repositories.jobs import control, crud, leases, lifecycle
from ttm_jobs.repositories.jobs.leases import Lease, LeaseStatus
from ttm_jobs.repositories.jobs.lifecycle import Failure
from ttm_jobs.states import JobState

CRASH = Failure("trainer_died", "Killed.", origin="system", retryable=True)
SECOND = timedelta(seconds=1)


def expire(engine: Engine, backoff: timedelta = NO_TIME) -> list[str]:
    with session_scope(engine) as session:
        return [job.id for job in leases.expire(session, backoff=backoff)]


def test_claim_returns_a_lease_with_the_next_epoch(engine: Engine) -> None:
    job_id = queued(engine)
    lease = claimed(engine, job_id, "worker-1")
    assert lease == Lease(job_id, "worker-1", 1)
    job = job_of(engine, job_id)
    assert (job.state, job.attempt, job.lease_owner) == (JobState.RUNNING, 1, "worker-1")
    assert job.lease_until is not None
    assert job.heartbeat_at is not None
    assert job.lease_until - job.heartbeat_at == MINUTE
    with session_scope(engine) as session:
        [attempt] = crud.attempts(session, job_id)
        assert (attempt.number, attempt.worker_id, attempt.outcome) == (1, "worker-1", None)


def test_repeated_wake_up_message_claims_nothing(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        assert leases.claim(session, lease.job_id, "worker-2", duration=MINUTE) is None
        assert leases.claim(session, "no such job", "worker-2", duration=MINUTE) is None


def test_one_of_many_concurrent_claims_wins(engine: Engine) -> None:
    job_ids = [queued(engine) for _ in range(5)]
    barrier = Barrier(8)

    def claim_all(owner: str) -> list[Lease]:
        barrier.wait()
        won = []
        for job_id in job_ids:
            with session_scope(engine) as session:
                if (lease := leases.claim(session, job_id, owner, duration=MINUTE)) is not None:
                    won.append(lease)
        return won

    with ThreadPoolExecutor(8) as pool:
        won = [lease for leases_ in pool.map(claim_all, map(str, range(8))) for lease in leases_]
    assert sorted(lease.job_id for lease in won) == sorted(job_ids)
    for lease in won:
        assert job_of(engine, lease.job_id).lease_owner == lease.owner


def test_heartbeat_extends_the_lease_on_the_database_clock(engine: Engine) -> None:
    lease = running(engine, duration=SECOND)
    with session_scope(engine) as session:
        assert leases.heartbeat(session, lease, duration=MINUTE) == LeaseStatus(JobState.RUNNING, overdue=False)
        until = job_of(engine, lease.job_id).lease_until
    job = job_of(engine, lease.job_id)
    with session_scope(engine) as session:
        assert job.lease_until is not None
        assert timedelta(seconds=50) < job.lease_until - now(session) <= MINUTE
    assert until != job.lease_until


@pytest.mark.parametrize(
    "forged", [Lease("", "worker-2", 1), Lease("", "worker-1", 2), Lease("", "worker-1", 0)], ids=str
)
def test_only_the_lease_holder_can_write(engine: Engine, forged: Lease) -> None:
    lease = running(engine)
    other = Lease(lease.job_id, forged.owner, forged.epoch)
    with session_scope(engine) as session, pytest.raises(LeaseLost):
        leases.fence(session, other)
    with session_scope(engine) as session, pytest.raises(LeaseLost):
        leases.heartbeat(session, other, duration=MINUTE)
    with session_scope(engine) as session:
        assert leases.fence(session, lease).id == lease.job_id


def test_lease_of_a_deleted_job_is_lost(engine: Engine) -> None:
    missing = Lease("no such job", "worker-1", 1)
    with session_scope(engine) as session, pytest.raises(LeaseLost):
        leases.fence(session, missing)


def test_job_of_an_unresponsive_worker_is_queued_again(engine: Engine) -> None:
    lease = running(engine, duration=NO_TIME)
    active = running(engine)
    assert expire(engine) == [lease.job_id]
    job = job_of(engine, lease.job_id)
    assert (job.state, job.attempt, job.lease_owner, job.lease_until) == (JobState.QUEUED, 1, None, None)
    assert state_of(engine, active.job_id) is JobState.RUNNING
    with session_scope(engine) as session:
        [attempt] = crud.attempts(session, lease.job_id)
        assert (attempt.outcome, attempt.code) == ("lost", "worker_lost")
        assert session.query(OutboxMessage).count() == 3
    with session_scope(engine) as session, pytest.raises(LeaseLost):
        leases.heartbeat(session, lease, duration=MINUTE)


def test_resumed_worker_with_expired_lease_writes_nothing(engine: Engine) -> None:
    old = running(engine, duration=NO_TIME)
    expire(engine)
    new = claimed(engine, old.job_id, "worker-1")
    assert new.epoch == 2
    for write in (leases.fence, lambda session, lease: leases.heartbeat(session, lease, duration=MINUTE)):
        with session_scope(engine) as session, pytest.raises(LeaseLost):
            write(session, old)
    assert job_of(engine, old.job_id).lease_epoch == 2


def test_late_heartbeat_keeps_an_unclaimed_job(engine: Engine) -> None:
    lease = running(engine, duration=NO_TIME)
    with session_scope(engine) as session:
        leases.heartbeat(session, lease, duration=MINUTE)
    assert expire(engine) == []


def test_lost_attempts_are_limited(engine: Engine) -> None:
    job_id = queued(engine, max_attempts=3)
    for number in (1, 2, 3):
        assert job_of(engine, job_id).attempt == number - 1
        claimed(engine, job_id, duration=NO_TIME)
        assert expire(engine) == [job_id]
    job = job_of(engine, job_id)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert (job.failure["code"], job.failure["origin"]) == ("worker_lost", "system")


def test_stop_request_takes_effect_when_the_lease_expires(engine: Engine) -> None:
    cancelled, paused = running(engine, duration=NO_TIME), running(engine, duration=NO_TIME)
    with session_scope(engine) as session:
        control.request_cancel(session, cancelled.job_id)
        control.request_pause(session, paused.job_id)
    expire(engine)
    assert state_of(engine, cancelled.job_id) is JobState.CANCELLED
    assert state_of(engine, paused.job_id) is JobState.PAUSED


def test_reapers_run_concurrently(engine: Engine) -> None:
    lost = sorted(running(engine, duration=NO_TIME).job_id for _ in range(20))
    barrier = Barrier(4)

    def reap(_: int) -> list[str]:
        barrier.wait()
        return [job_id for _ in range(5) for job_id in expire(engine)]

    with ThreadPoolExecutor(4) as pool:
        reaped = [job_id for part in pool.map(reap, range(4)) for job_id in part]
    assert sorted(reaped) == lost
    for job_id in lost:
        assert job_of(engine, job_id).attempt == 1
        with session_scope(engine) as session:
            assert len(crud.attempts(session, job_id)) == 1


def test_retried_job_waits_for_its_backoff(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        lifecycle.attempt_failed(session, job, CRASH, backoff=MINUTE)
    with session_scope(engine) as session:
        assert leases.claim(session, lease.job_id, "worker-2", duration=MINUTE) is None
        crud.get(session, lease.job_id).not_before = now(session)
    assert claimed(engine, lease.job_id, "worker-2").epoch == 2
