"""The core of the tests once more, with RabbitMQ as the broker, where `rabbitmq-server` is on the PATH."""

from collections.abc import Iterator

import pytest

from tests.faults import test_workers
from tests.support.rabbitmq import INSTALLED, RabbitServer
from tests.worker import test_process

STACK = "PostgreSQL, RabbitMQ"

pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="RABBITMQ IS NOT TESTED: there is no rabbitmq-server on the PATH"),
    pytest.mark.thorough,
    pytest.mark.fault("the core of the worker's tests"),
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
]


@pytest.fixture(scope="module")
def redis() -> Iterator[RabbitServer]:
    """In the place of the usual broker."""
    with RabbitServer() as server:
        yield server


test_from_the_queue_to_the_student = test_process.test_a_job_from_the_queue_to_its_student
test_the_most_urgent_job_is_taken_first = test_process.test_the_most_urgent_job_is_taken_first
test_cancel_reaches_the_trainer = test_process.test_cancel_reaches_the_trainer_of_another_process
test_a_ring_repeated_is_one_attempt = test_workers.test_a_ring_repeated_to_two_workers_is_one_attempt
test_a_killed_workers_job_is_resumed = test_workers.test_a_killed_workers_job_is_resumed_by_another_to_the_same_student
test_sigterm_hands_the_job_over = test_workers.test_sigterm_hands_the_job_to_another_worker
