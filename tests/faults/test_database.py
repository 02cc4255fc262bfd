"""Database outages while jobs run."""

import time

import pytest

from tests.support.servers import PostgresServer
from tests.support.stack import Stack
from tests.support.tiny import wait_until
from tests.support.tiny_trainer import weights_after
from ttm_jobs.states import JobState

# SQLite is a file and has no outages.
pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

STEPS = 300
LONG = f"steps={STEPS} step_seconds=0.02 checkpoint_every=50"


@pytest.mark.fault("database outage shorter than the lease")
def test_database_outage_shorter_than_the_lease_has_no_effect(stack: Stack, postgres: PostgresServer) -> None:
    stack.start_dispatcher()
    stack.start_worker()
    job_id = stack.submit(LONG)
    wait_until(lambda: stack.step(job_id) > 5)
    postgres.stop()
    time.sleep(1.5)
    postgres.start()
    stack.wait_for(job_id, JobState.SUCCEEDED)
    assert stack.student(job_id) == weights_after(STEPS, "0")
    assert [attempt.outcome for attempt in stack.attempts(job_id)] == ["succeeded"]


@pytest.mark.fault("database outage longer than the lease")
@pytest.mark.thorough
def test_database_outage_longer_than_the_lease_stops_the_run(stack: Stack, postgres: PostgresServer) -> None:
    stack.start_dispatcher()
    stack.start_worker()
    job_id = stack.submit(f"{LONG} steps={STEPS * 2}")
    wait_until(lambda: stack.step(job_id) > 60)
    postgres.stop()
    # Longer than the lease: the worker abandons the run.
    time.sleep(7)
    postgres.start()
    stack.wait_for(job_id, JobState.SUCCEEDED)
    assert stack.student(job_id) == weights_after(STEPS * 2, "0")
    outcomes = [attempt.outcome for attempt in stack.attempts(job_id)]
    assert outcomes[-1] == "succeeded"
    assert outcomes[:-1] in (["lost"], ["released"]), outcomes
