"""The contract of every notifier."""

import json
import os
import signal
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest
import redis as redis_client

from tests.support.servers import start_redis
from ttm_jobs.broker.embedded import EmbeddedBroker, free_port
from ttm_jobs.broker.notifier import BrokerUnavailable, CeleryNotifier, InMemoryNotifier, Notifier
from ttm_jobs.database.ids import new_id

TakeMessages = Callable[[], list[str]]


@pytest.fixture(params=["celery", "in memory"])
def notifier(request: pytest.FixtureRequest) -> tuple[Notifier, TakeMessages]:
    """A notifier, and a function that takes its messages in the order in which a worker receives them."""
    if request.param == "in memory":
        memory = InMemoryNotifier()
        return memory, memory.take
    broker: EmbeddedBroker = request.getfixturevalue("redis")
    name = new_id()
    return CeleryNotifier(broker.url, name), lambda: _messages(broker, name)


def _messages(broker: EmbeddedBroker, queue: str) -> list[str]:
    """Takes messages as kombu does: one list per priority, lowest number first, from the end of each list."""
    client = redis_client.Redis.from_url(broker.url)
    received = []
    for key in [queue, *(f"{queue}\x06\x16{priority}" for priority in range(1, 10))]:
        while (message := client.rpop(key)) is not None:
            assert isinstance(message, bytes)
            [[job_id], _, _] = json.loads(b64decode(json.loads(message)["body"]))
            received.append(job_id)
    return received


def test_wake_up_message_carries_the_job_id(notifier: tuple[Notifier, TakeMessages]) -> None:
    sender, take = notifier
    sender.notify("job-1", priority=5)
    assert take() == ["job-1"]
    assert take() == []


def test_messages_of_one_priority_keep_their_order(notifier: tuple[Notifier, TakeMessages]) -> None:
    sender, take = notifier
    for number in range(5):
        sender.notify(f"job-{number}", priority=5)
    assert take() == [f"job-{number}" for number in range(5)]


def test_highest_priority_message_comes_first(notifier: tuple[Notifier, TakeMessages]) -> None:
    sender, take = notifier
    for priority in (0, 9, 5, 4, 6):
        sender.notify(f"job-{priority}", priority=priority)
    assert take() == ["job-9", "job-6", "job-5", "job-4", "job-0"]


def test_missing_broker_is_reported_as_unavailable() -> None:
    sender = CeleryNotifier(f"redis://127.0.0.1:{free_port()}/0", "queue")
    with pytest.raises(BrokerUnavailable):
        sender.notify("job-1", priority=5)


def test_hanging_broker_times_out_and_is_used_again(tmp_path: Path) -> None:
    broker = start_redis(tmp_path)
    sender = CeleryNotifier(broker.url, "queue")
    try:
        sender.notify("job-1", priority=5)
        os.kill(broker.pid, signal.SIGSTOP)
        with pytest.raises(BrokerUnavailable):
            sender.notify("job-2", priority=5)
        os.kill(broker.pid, signal.SIGCONT)
        sender.notify("job-3", priority=5)
        assert "job-3" in _messages(broker, "queue")
    finally:
        os.kill(broker.pid, signal.SIGCONT)
        broker.stop()


def test_full_broker_is_reported_as_unavailable(tmp_path: Path) -> None:
    broker = start_redis(tmp_path)
    try:
        redis_client.Redis.from_url(broker.url).config_set("maxmemory", "1")
        with pytest.raises(BrokerUnavailable):
            CeleryNotifier(broker.url, "queue").notify("job-1", priority=5)
    finally:
        broker.stop()
