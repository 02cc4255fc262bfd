"""Repeats the core tests with RabbitMQ as the broker, if `rabbitmq-server` is on the PATH."""

from collections.abc import Iterator

import pytest

from tests.faults import test_workers
from tests.support.rabbitmq import INSTALLED, RabbitServer
from tests.worker import test_process

STACK = "PostgreSQL, RabbitMQ"

pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="RABBITMQ IS NOT TESTED: there is no rabbitmq-server on the PATH"),
    pytest.mark.thorough,
    pytest.mark.fault("RabbitMQ instead of Redis"),
]


@pytest.fixture(scope="module")
def redis() -> Iterator[RabbitServer]:
    """Replaces the Redis broker."""
    with RabbitServer() as server:
        yield server


@pytest.fixture
def database_url(postgresql_url: str) -> str:
    return postgresql_url


running = test_process.running
test_queued_job_runs_to_its_student = test_process.test_queued_job_runs_to_its_student
test_jobs_are_claimed_by_priority = test_process.test_worker_claims_the_jobs_of_its_queues_by_priority
test_cancel_request_reaches_the_trainer = test_process.test_cancel_request_reaches_the_trainer_of_another_process
test_repeated_wake_up_message_is_one_attempt = test_workers.test_repeated_wake_up_message_to_two_workers_is_one_attempt
test_job_of_a_killed_worker_is_resumed = test_workers.test_job_of_a_killed_worker_is_resumed_to_the_same_student
test_sigterm_releases_the_job = test_workers.test_sigterm_releases_the_job_to_another_worker
