"""Job deadlines, measured with the database clock, on both databases."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from tests.support.factories import MINUTE, claimed, job_of, queued, running, state_of
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.repositories.jobs import control, leases, lifecycle
from ttm_jobs.repositories.jobs.transitions import locked
from ttm_jobs.states import JobState

CRASH = lifecycle.Failure("trainer_died", "Killed.", origin="system", retryable=True)


def expire(engine: Engine) -> list[str]:
    with session_scope(engine) as session:
        return [job.id for job in lifecycle.expire_deadlines(session)]


def pass_the_deadline(engine: Engine, job_id: str) -> None:
    with session_scope(engine) as session:
        locked(session, job_id).deadline_at = now(session)


def test_deadline_counts_from_the_submission(engine: Engine) -> None:
    job = job_of(engine, queued(engine, deadline=MINUTE))
    assert job.deadline_at is not None
    assert job.deadline_at - job.created_at == MINUTE


@pytest.mark.parametrize("rest", [False, True], ids=["queued", "paused"])
def test_job_without_a_lease_fails_at_its_deadline(engine: Engine, rest: bool) -> None:
    job_id = queued(engine, deadline=MINUTE)
    others = [queued(engine, deadline=MINUTE), queued(engine)]
    if rest:
        with session_scope(engine) as session:
            control.request_pause(session, job_id)
    assert expire(engine) == []
    pass_the_deadline(engine, job_id)
    assert expire(engine) == [job_id]
    job = job_of(engine, job_id)
    assert job.state is JobState.FAILED
    assert ((job.failure or {})["code"], (job.failure or {})["origin"]) == ("deadline_exceeded", "user")
    assert job.finished_at is not None
    assert [state_of(engine, other) for other in others] == [JobState.QUEUED] * 2


def test_job_past_its_deadline_is_not_claimed(engine: Engine) -> None:
    job_id = queued(engine, deadline=timedelta(0))
    with session_scope(engine) as session:
        assert leases.claim(session, job_id, "worker-1", duration=MINUTE) is None


def test_heartbeat_reports_the_deadline_and_the_holder_keeps_the_job(engine: Engine) -> None:
    lease = running(engine, deadline=MINUTE)
    with session_scope(engine) as session:
        assert not leases.heartbeat(session, lease, duration=MINUTE).overdue
    pass_the_deadline(engine, lease.job_id)
    with session_scope(engine) as session:
        assert leases.heartbeat(session, lease, duration=MINUTE).overdue
    assert expire(engine) == []
    assert state_of(engine, lease.job_id) is JobState.RUNNING


def test_failed_attempt_past_the_deadline_is_not_retried(engine: Engine) -> None:
    lease = running(engine, deadline=MINUTE)
    pass_the_deadline(engine, lease.job_id)
    with session_scope(engine) as session:
        lifecycle.attempt_failed(session, leases.fence(session, lease), CRASH, backoff=timedelta(0))
    assert expire(engine) == [lease.job_id]
    assert (job_of(engine, lease.job_id).failure or {})["code"] == "deadline_exceeded"


def test_retry_has_no_deadline(engine: Engine) -> None:
    job_id = queued(engine, deadline=timedelta(0))
    expire(engine)
    with session_scope(engine) as session:
        retry_id = control.retry(session, job_id).id
    assert job_of(engine, retry_id).deadline_at is None
    assert claimed(engine, retry_id).epoch == 1
