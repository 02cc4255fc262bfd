from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from tests.support.factories import MINUTE, NO_TIME, claimed, create_job, job_of, queued, running, spec, state_of
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import (
    JobNotCancellable,
    JobNotFound,
    JobNotPausable,
    JobNotResumable,
    JobNotRetryable,
)
from ttm_jobs.models import OutboxMessage
from ttm_jobs.repositories.jobs import control, crud, leases, lifecycle, listing
from ttm_jobs.repositories.jobs.lifecycle import Failure
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.repositories.run_data import events
from ttm_jobs.states import JobState

BAD_INPUT = Failure("bad_dataset", "No images.", origin="user", retryable=False)


def history(engine: Engine, job_id: str) -> list[str]:
    with read_scope(engine) as session:
        return [event.data["state"] for event in events.history(session, job_id) if event.kind == "state"]


def test_new_job_is_queued_with_a_pending_wake_up_message(engine: Engine) -> None:
    job_id = queued(engine, spec=spec(name="first"), priority=7)
    job = job_of(engine, job_id)
    assert (job.state, job.name, job.attempt) == (JobState.QUEUED, "first", 0)
    assert job.spec == spec(name="first")
    assert history(engine, job_id) == ["queued"]
    with read_scope(engine) as session:
        [message] = session.query(OutboxMessage)
        assert (message.topic, message.payload) == ("wake_up", {"job_id": job_id, "priority": 7, "queue": "default"})


def test_unknown_job_is_not_found(engine: Engine) -> None:
    with read_scope(engine) as session, pytest.raises(JobNotFound):
        crud.get(session, "unknown")
    with session_scope(engine) as session, pytest.raises(JobNotFound):
        control.request_cancel(session, "unknown")


def test_pages_are_newest_first_and_complete(engine: Engine) -> None:
    with session_scope(engine) as session:
        made = [create_job(session) for _ in range(7)]
        # Jobs created at the same time are sorted by id.
        for job in made[2:5]:
            job.created_at = made[2].created_at
        expected = [job.id for job in sorted(made, key=lambda job: (job.created_at, job.id), reverse=True)]
    listed: list[str] = []
    before = None
    while True:
        with read_scope(engine) as session:
            page = listing.page(session, limit=3, before=before)
        listed += [job.id for job in page.jobs]
        if not page.has_more:
            break
        before = (page.jobs[-1].created_at, page.jobs[-1].id)
    assert listed == expected


def test_pages_are_filtered_by_state(engine: Engine) -> None:
    first, second, third = (queued(engine) for _ in range(3))
    claimed(engine, second)
    with session_scope(engine) as session:
        control.request_cancel(session, third)
        some = JobFilters(states=[JobState.RUNNING, JobState.CANCELLED])
        page = listing.page(session, limit=10, filters=some)
        assert [job.id for job in page.jobs] == [third, second]
        waiting = listing.page(session, limit=10, filters=JobFilters(states=[JobState.QUEUED]))
        assert [job.id for job in waiting.jobs] == [first]


def test_queued_job_is_cancelled_immediately(engine: Engine) -> None:
    job_id = queued(engine)
    with session_scope(engine) as session:
        control.request_cancel(session, job_id)
    job = job_of(engine, job_id)
    assert job.state is JobState.CANCELLED
    assert job.finished_at is not None
    assert job.cancel_requested_at is not None
    assert history(engine, job_id) == ["queued", "cancelling", "cancelled"]


def test_running_job_is_cancelled_by_its_holder(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        control.request_cancel(session, lease.job_id)
    assert state_of(engine, lease.job_id) is JobState.CANCELLING
    with session_scope(engine) as session:
        assert leases.heartbeat(session, lease, duration=MINUTE).state is JobState.CANCELLING
        control.request_cancel(session, lease.job_id)
    with session_scope(engine) as session:
        assert lifecycle.released(session, leases.fence(session, lease), reason="cancelled") is JobState.CANCELLED
    with session_scope(engine) as session:
        control.request_cancel(session, lease.job_id)
    assert history(engine, lease.job_id) == ["queued", "running", "cancelling", "cancelled"]


def test_finished_job_cannot_be_cancelled_or_paused(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        lifecycle.failed(session, leases.fence(session, lease), BAD_INPUT)
    with session_scope(engine) as session, pytest.raises(JobNotCancellable):
        control.request_cancel(session, lease.job_id)
    with session_scope(engine) as session, pytest.raises(JobNotPausable):
        control.request_pause(session, lease.job_id)


def test_queued_job_is_paused_and_resumed(engine: Engine) -> None:
    job_id = queued(engine)
    with session_scope(engine) as session:
        control.request_pause(session, job_id)
    assert state_of(engine, job_id) is JobState.PAUSED
    with session_scope(engine) as session:
        assert leases.claim(session, job_id, "worker-1", duration=MINUTE) is None
        control.resume(session, job_id)
    assert state_of(engine, job_id) is JobState.QUEUED
    claimed(engine, job_id)


def test_paused_attempt_does_not_count_against_max_attempts(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        control.request_pause(session, lease.job_id)
        control.request_pause(session, lease.job_id)
    with session_scope(engine) as session:
        assert leases.heartbeat(session, lease, duration=MINUTE).state is JobState.PAUSING
        assert lifecycle.released(session, leases.fence(session, lease), reason="paused") is JobState.PAUSED
    job = job_of(engine, lease.job_id)
    assert (job.attempt, job.lease_owner, job.lease_until) == (1, None, None)
    with session_scope(engine) as session:
        control.resume(session, lease.job_id)
        [attempt] = crud.attempts(session, lease.job_id)
        assert attempt.outcome == "paused"
    assert claimed(engine, lease.job_id, "worker-2").epoch == 2
    assert job_of(engine, lease.job_id).attempt == 1


def test_job_that_was_paused_resumed_and_cancelled_keeps_its_attempt(engine: Engine) -> None:
    lease = running(engine)
    with session_scope(engine) as session:
        control.request_pause(session, lease.job_id)
        lifecycle.released(session, leases.fence(session, lease), reason="paused")
        control.resume(session, lease.job_id)
        control.request_cancel(session, lease.job_id)
    assert state_of(engine, lease.job_id) is JobState.CANCELLED
    assert job_of(engine, lease.job_id).attempt == 1
    with session_scope(engine) as session:
        assert [attempt.outcome for attempt in crud.attempts(session, lease.job_id)] == ["paused"]


def test_paused_or_pausing_job_can_be_cancelled(engine: Engine) -> None:
    waiting, lease = queued(engine), running(engine)
    with session_scope(engine) as session:
        control.request_pause(session, waiting)
        control.request_cancel(session, waiting)
        control.request_pause(session, lease.job_id)
        control.request_cancel(session, lease.job_id)
    assert state_of(engine, waiting) is JobState.CANCELLED
    assert state_of(engine, lease.job_id) is JobState.CANCELLING


def test_only_a_paused_job_can_be_resumed(engine: Engine) -> None:
    job_id = queued(engine)
    with session_scope(engine) as session, pytest.raises(JobNotResumable):
        control.resume(session, job_id)


def test_retry_creates_a_new_job_that_references_the_old_one(engine: Engine) -> None:
    lease = running(engine, spec=spec(name="original"), priority=2, max_attempts=1)
    with session_scope(engine) as session, pytest.raises(JobNotRetryable):
        control.retry(session, lease.job_id)
    with session_scope(engine) as session:
        lifecycle.failed(session, leases.fence(session, lease), BAD_INPUT)
    with session_scope(engine) as session:
        new = control.retry(session, lease.job_id)
    assert (new.retry_of, new.spec, new.priority, new.state) == (
        lease.job_id,
        spec(name="original"),
        2,
        JobState.QUEUED,
    )
    old = job_of(engine, lease.job_id)
    assert old.state is JobState.FAILED
    assert old.failure == {"code": "bad_dataset", "message": "No images.", "origin": "user", "retryable": False}


def test_version_increases_with_changes_but_not_with_heartbeats(engine: Engine) -> None:
    lease = running(engine)
    version = job_of(engine, lease.job_id).version
    with session_scope(engine) as session:
        leases.heartbeat(session, lease, duration=MINUTE)
    assert job_of(engine, lease.job_id).version == version
    with session_scope(engine) as session:
        control.request_cancel(session, lease.job_id)
    assert job_of(engine, lease.job_id).version == version + 1


def test_unanswered_wake_up_messages_are_repeated_oldest_first(engine: Engine) -> None:
    first, second, taken, elsewhere = queued(engine), queued(engine), queued(engine), queued(engine, queue="gpu")
    claimed(engine, taken)
    with session_scope(engine) as session:
        assert [job.id for job in crud.renotify_queued(session, after=MINUTE, limit=10)] == []
        assert [job.id for job in crud.renotify_queued(session, after=NO_TIME, limit=1)] == [first]
        assert [job.id for job in crud.renotify_queued(session, after=NO_TIME, limit=10)] == [second, first]
        announced = crud.renotify_queued(session, after=NO_TIME, limit=10, queue="gpu")
        assert [job.id for job in announced] == [elsewhere]


def test_job_in_backoff_is_not_announced_again(engine: Engine) -> None:
    job_id = queued(engine)
    with session_scope(engine) as session:
        crud.get(session, job_id).notified_at = datetime(2100, 1, 1, tzinfo=UTC)
    with session_scope(engine) as session:
        assert crud.renotify_queued(session, after=NO_TIME, limit=10) == []
