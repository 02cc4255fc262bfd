"""The notifier's contract, for every kind of it."""

import json
import os
import signal
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest
import redis as redis_client

from tests.support.servers import start_redis
from ttm_jobs.broker.embedded import EmbeddedBroker, free_port
from ttm_jobs.broker.notifier import BrokerUnavailable, CeleryNotifier, InMemoryNotifier, Notifier
from ttm_jobs.database.ids import new_id

Rung = Callable[[], list[str]]


@pytest.fixture(params=["celery", "in memory"])
def notifier(request: pytest.FixtureRequest) -> tuple[Notifier, Rung]:
    """A notifier, and a way to take off what it rang, in the order in which a worker would."""
    if request.param == "in memory":
        memory = InMemoryNotifier()
        return memory, memory.take
    broker: EmbeddedBroker = request.getfixturevalue("redis")
    name = new_id()
    return CeleryNotifier(broker.url, name), lambda: _messages(broker, name)


def _messages(broker: EmbeddedBroker, queue: str) -> list[str]:
    """As kombu reads them: one list for each priority, the lowest number first, each from its end."""
    client = redis_client.Redis.from_url(broker.url)
    rung = []
    for key in [queue, *(f"{queue}\x06\x16{priority}" for priority in range(1, 10))]:
        while (message := client.rpop(key)) is not None:
            assert isinstance(message, bytes)
            [[job_id], _, _] = json.loads(b64decode(json.loads(message)["body"]))
            rung.append(job_id)
    return rung


def test_a_ring_carries_the_id(notifier: tuple[Notifier, Rung]) -> None:
    bell, rung = notifier
    bell.notify("job-1", priority=5)
    assert rung() == ["job-1"]
    assert rung() == []


def test_rings_of_one_priority_keep_their_order(notifier: tuple[Notifier, Rung]) -> None:
    bell, rung = notifier
    for number in range(5):
        bell.notify(f"job-{number}", priority=5)
    assert rung() == [f"job-{number}" for number in range(5)]


def test_the_most_urgent_comes_first(notifier: tuple[Notifier, Rung]) -> None:
    bell, rung = notifier
    for priority in (0, 9, 5, 4, 6):
        bell.notify(f"job-{priority}", priority=priority)
    assert rung() == ["job-9", "job-6", "job-5", "job-4", "job-0"]


def test_no_broker_is_told_at_once() -> None:
    bell = CeleryNotifier(f"redis://127.0.0.1:{free_port()}/0", "queue")
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        bell.notify("job-1", priority=5)
    assert time.monotonic() - started < 5


def test_a_broker_that_hangs_holds_nobody_for_long_and_is_used_again(tmp_path: Path) -> None:
    broker = start_redis(tmp_path)
    bell = CeleryNotifier(broker.url, "queue")
    try:
        bell.notify("job-1", priority=5)
        os.kill(broker.pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            bell.notify("job-2", priority=5)
        assert time.monotonic() - started < 10
        os.kill(broker.pid, signal.SIGCONT)
        bell.notify("job-3", priority=5)
        assert "job-3" in _messages(broker, "queue")
    finally:
        os.kill(broker.pid, signal.SIGCONT)
        broker.stop()


def test_a_full_broker_refuses(tmp_path: Path) -> None:
    broker = start_redis(tmp_path)
    try:
        redis_client.Redis.from_url(broker.url).config_set("maxmemory", "1")
        with pytest.raises(BrokerUnavailable):
            CeleryNotifier(broker.url, "queue").notify("job-1", priority=5)
    finally:
        broker.stop()
