import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis as redis_client

from tests.support.tiny import wait_until
from ttm_jobs.broker import connection
from ttm_jobs.broker.embedded import BrokerDidNotStart, EmbeddedBroker, free_port


def test_broker_starts_responds_and_stops(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as server:
        assert connection.ping(server.url)
        assert server.is_alive()
    assert not connection.ping(server.url)
    assert not server.is_alive()


def test_broker_keeps_its_data_after_a_kill(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as server:
        redis_client.Redis.from_url(server.url).lpush("queue", "wake_up")
        os.kill(server.pid, signal.SIGKILL)
    with EmbeddedBroker(tmp_path) as server:
        assert redis_client.Redis.from_url(server.url).lpop("queue") == b"wake_up"


def test_broker_listens_on_loopback_only(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as server:
        assert redis_client.Redis.from_url(server.url).config_get("bind") == {"bind": "127.0.0.1"}


def test_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "a") as server, pytest.raises(BrokerDidNotStart, match=str(server.port)):
        EmbeddedBroker(tmp_path / "b", server.port).start()


def test_broker_exits_with_its_parent_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from ttm_jobs.broker.embedded import EmbeddedBroker\n"
        "server = EmbeddedBroker(Path(sys.argv[1])); server.start(); print(server.url, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert connection.ping(url)
        parent.kill()
    wait_until(lambda: not connection.ping(url))


def test_ping_without_a_broker() -> None:
    assert not connection.ping(f"redis://127.0.0.1:{free_port()}/0")
    assert not connection.ping("redis://127.0.0.1:not-a-port/0")


def test_ping_of_a_hanging_broker_times_out(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as server:
        os.kill(server.pid, signal.SIGSTOP)
        assert not connection.ping(server.url, timeout=0.3)
        os.kill(server.pid, signal.SIGCONT)


def test_ping_with_a_password(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as server:
        redis_client.Redis.from_url(server.url).config_set("requirepass", "s3cret/?")
        assert not connection.ping(server.url)
        assert connection.ping(server.url.replace("redis://", "redis://:s3cret%2F%3F@"))
        assert not connection.ping(server.url.replace("redis://", "redis://:wrong@"))
