"""Proxies of the environment that cannot be used."""

import pickle
import sys
from pathlib import Path

import pytest

from ttm_client import Client, ConnectionFailed
from ttm_client.cli.output import _message
from ttm_jobs.broker.embedded import free_port

_JOB = "01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr("ttm_client.protocol.pause", lambda first, attempt: 0.0)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_reached_is_named(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxy = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv(variable, f"http://ann:secret@{proxy}")
    with Client("https://ttm.example.org") as client:
        for call in (
            lambda: client.jobs.get("a"),
            lambda: client.jobs.cancel(_JOB),
            lambda: list(client.jobs.events(_JOB)),
        ):
            with pytest.raises(ConnectionFailed, match=f"through the proxy http://{proxy}: ") as failed:
                call()
            assert pickle.loads(pickle.dumps(failed.value)).proxy == f"http://{proxy}"
            assert "secret" not in str(failed.value)
            assert "NO_PROXY" in _message(failed.value)
            assert "ttm up" not in _message(failed.value)


def test_hosts_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    with (
        Client(f"http://127.0.0.1:{free_port()}") as client,
        pytest.raises(ConnectionFailed, match=r"^Cannot connect to http://127[^ ]*: ") as failed,
    ):
        client.jobs.get("a")
    assert failed.value.proxy is None


def test_a_socks_proxy_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(ValueError, match="pip install socksio"):
        Client()
