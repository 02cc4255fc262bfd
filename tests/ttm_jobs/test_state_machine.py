"""A model-based test of the job life cycle.

Workers, users and reapers act in any order. A job reaches one terminal state and at most one attempt succeeds.
"""

import shutil
import tempfile
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.support.factories import MINUTE, NO_TIME, create_job
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import create_engine, read_scope, session_scope
from ttm_jobs.errors import Conflict, InvalidTransition, LeaseLost
from ttm_jobs.models import Job
from ttm_jobs.repositories.cleanup import objects
from ttm_jobs.repositories.jobs import control, crud, leases, lifecycle
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.jobs.lifecycle import Failure
from ttm_jobs.repositories.run_data import events, recording
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.states import HELD, TERMINAL, TRANSITIONS, JobState

FAILURE = Failure("trainer_died", "Killed.", origin="system", retryable=True)
MAX_ATTEMPTS = 3

workers = st.sampled_from(["worker-1", "worker-2", "worker-3"])


class JobLife(RuleBasedStateMachine):
    template: Path
    held_leases = Bundle("held_leases")

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="ttm-model-"))
        shutil.copy(self.template, self.directory / "ttm.db")
        self.engine = create_engine(f"sqlite:///{self.directory}/ttm.db")
        with session_scope(self.engine) as session:
            self.job_id = create_job(session, max_attempts=MAX_ATTEMPTS).id
        self.current: Lease | None = None
        self.ended: JobState | None = None
        self.winners: list[Lease] = []
        self.counted_attempts = 0
        self.overdue = False

    def teardown(self) -> None:
        self.engine.dispose()
        shutil.rmtree(self.directory)

    def job(self) -> Job:
        with read_scope(self.engine) as session:
            return crud.get(session, self.job_id)

    # Worker actions

    @rule(target=held_leases, owner=workers)
    def claim(self, owner: str) -> Lease | MultipleResults[Lease]:
        waiting = self.job().state is JobState.QUEUED and not self.overdue
        with session_scope(self.engine) as session:
            lease = leases.claim(session, self.job_id, owner, duration=MINUTE)
        assert (lease is not None) == waiting
        if lease is None:
            return multiple()
        assert self.current is None
        self.current = lease
        return lease

    @rule(lease=held_leases)
    def heartbeat(self, lease: Lease) -> None:
        with self.expected(lease) as allowed, session_scope(self.engine) as session:
            assert leases.heartbeat(session, lease, duration=MINUTE).overdue == self.overdue
            allowed.passed()

    @rule(lease=held_leases)
    def report(self, lease: Lease) -> None:
        with self.expected(lease) as allowed, session_scope(self.engine) as session:
            recording.phase(session, leases.fence(session, lease), "training", now(session))
            allowed.passed()

    @rule(lease=held_leases)
    def succeed(self, lease: Lease) -> None:
        file = PublishedFile("student", f"jobs/{self.job_id}/{lease.epoch}/student", "x/y", 1, "ab" * 32)
        with self.expected(lease) as allowed, session_scope(self.engine) as session:
            state = lifecycle.succeeded(session, leases.fence(session, lease), result={}, files=[file])
            allowed.passed()
            self.clear_holder()
            if state is JobState.SUCCEEDED:
                self.winners.append(lease)

    @rule(lease=held_leases)
    def fail(self, lease: Lease) -> None:
        with self.expected(lease) as allowed, session_scope(self.engine) as session:
            lifecycle.failed(session, leases.fence(session, lease), FAILURE)
            allowed.passed()
            self.clear_holder()

    @rule(lease=held_leases)
    def break_down(self, lease: Lease) -> None:
        with self.expected(lease) as allowed, session_scope(self.engine) as session:
            lifecycle.attempt_failed(session, leases.fence(session, lease), FAILURE, backoff=NO_TIME)
            allowed.passed()
            self.counted_attempts += 1
            self.clear_holder()

    @rule(lease=held_leases)
    def release(self, lease: Lease) -> None:
        with self.expected(lease) as allowed, session_scope(self.engine) as session:
            lifecycle.released(session, leases.fence(session, lease), reason="drained")
            allowed.passed()
            self.clear_holder()

    # User actions

    @rule(request=st.sampled_from([control.request_cancel, control.request_pause, control.resume]))
    def request(self, request: object) -> None:
        before = self.job().state
        try:
            with session_scope(self.engine) as session:
                request(session, self.job_id)  # type: ignore[operator]
        except Conflict:
            assert self.job().state is before

    # Dispatcher and collector actions

    @rule()
    def reap_before_expiry(self) -> None:
        with session_scope(self.engine) as session:
            assert leases.expire(session, backoff=NO_TIME) == []

    @rule()
    def expire_lease_and_reap(self) -> None:
        with session_scope(self.engine) as session:
            job = crud.get(session, self.job_id)
            if job.lease_until is not None:
                job.lease_until = now(session) - timedelta(seconds=1)
        with session_scope(self.engine) as session:
            if leases.expire(session, backoff=NO_TIME):
                self.counted_attempts += 1
                self.clear_holder()

    @rule()
    def pass_the_deadline(self) -> None:
        with session_scope(self.engine) as session:
            crud.get(session, self.job_id).deadline_at = now(session)
        self.overdue = True

    @rule()
    def fail_overdue_jobs(self) -> None:
        """A job without a lease fails at its deadline. A job with a lease is left to its holder."""
        before = self.job().state
        with session_scope(self.engine) as session:
            failed = bool(lifecycle.expire_deadlines(session))
        assert failed == (self.overdue and before in (JobState.QUEUED, JobState.PAUSED))
        assert self.job().state is (JobState.FAILED if failed else before)

    @rule()
    def collect(self) -> None:
        """Objects that are recorded, or that the lease holder may still record, are never abandoned."""
        epochs = range(1, self.job().lease_epoch + 1)
        keys = [f"jobs/{self.job_id}/{epoch}/student" for epoch in epochs]
        with read_scope(self.engine) as session:
            abandoned = objects.unreferenced(session, keys, after=NO_TIME)
        kept = {lease.epoch for lease in (self.current, *self.winners) if lease is not None}
        assert abandoned == {key for epoch, key in zip(epochs, keys, strict=True) if epoch not in kept}

    def clear_holder(self) -> None:
        self.current = None

    def expected(self, lease: Lease) -> "Expected":
        return Expected(lease == self.current)

    # Invariants

    @invariant()
    def terminal_states_are_final(self) -> None:
        state = self.job().state
        if self.ended is not None:
            assert state is self.ended
        elif state in TERMINAL:
            self.ended = state

    @invariant()
    def at_most_one_attempt_succeeds(self) -> None:
        assert len(self.winners) <= 1
        assert bool(self.winners) == (self.job().state is JobState.SUCCEEDED)

    @invariant()
    def row_matches_the_lease_holder(self) -> None:
        job = self.job()
        assert (job.state in HELD) == (self.current is not None)
        assert job.lease_owner == (self.current.owner if self.current else None)
        assert (job.lease_until is not None) == (self.current is not None)

    @invariant()
    def attempts_are_limited(self) -> None:
        job = self.job()
        assert 0 <= job.attempt <= MAX_ATTEMPTS
        assert self.counted_attempts <= MAX_ATTEMPTS

    @invariant()
    def history_follows_allowed_transitions(self) -> None:
        with read_scope(self.engine) as session:
            history = events.after(session, self.job_id, 0)
        assert [event.number for event in history] == list(range(1, len(history) + 1))
        states = [JobState(event.data["state"]) for event in history if event.kind == "state"]
        for before, after in pairwise(states):
            assert after in TRANSITIONS[before]
        assert states[-1] is self.job().state


class Expected:
    """A write that must succeed for the lease holder and raise LeaseLost for any other worker."""

    def __init__(self, holder: bool) -> None:
        self.holder = holder
        self.done = False

    def passed(self) -> None:
        self.done = True

    def __enter__(self) -> "Expected":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if kind is None:
            assert self.holder
            assert self.done
            return False
        return kind is LeaseLost and not self.holder


def test_no_sequence_leaves_a_terminal_state_or_succeeds_twice(sqlite_template: Path) -> None:
    JobLife.template = sqlite_template
    run_state_machine_as_test(
        JobLife,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_model_detects_a_missing_fence(sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the fence, the model detects the success of a worker with an expired lease."""
    JobLife.template = sqlite_template
    monkeypatch.setattr(leases, "fence", lambda session, lease: crud.get(session, lease.job_id))
    with pytest.raises((AssertionError, InvalidTransition)):
        run_state_machine_as_test(
            JobLife,
            settings=settings(
                max_examples=25,
                stateful_step_count=30,
                deadline=None,
                derandomize=True,
                report_multiple_bugs=False,
                # Skips shrinking: one failing example is enough.
                phases=[Phase.generate],
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
