"""Public and private addresses, and the hosts that a fetch may connect to."""

import socket

import httpcore2
import pytest

from ttm_jobs.errors import UriNotAllowed
from ttm_jobs.uris import is_public
from worker.inputs.network import Bounds, GuardedNetwork

PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",  # carrier-grade NAT
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:808:808::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_non_public_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.fixture
def bounds() -> Bounds:
    return Bounds(float("inf"), 60, 1, lambda: None)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.0.0.1", "::1", "0"])
def test_every_spelling_of_loopback_is_refused_at_connect(host: str, bounds: Bounds) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UriNotAllowed, match="not public"):
            GuardedNetwork([f"127.0.0.1:{port + 1}"], bounds).connect_tcp(host, port)


def test_host_with_a_public_and_a_private_address_is_refused(bounds: Bounds, monkeypatch: pytest.MonkeyPatch) -> None:
    def both(host: str, port: int, type: int) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("8.8.8.8", port)), (2, 1, 6, "", ("10.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(UriNotAllowed):
        GuardedNetwork([], bounds).connect_tcp("example.com", 443)


def test_rebinding_host_name_is_resolved_once(bounds: Bounds, monkeypatch: pytest.MonkeyPatch) -> None:
    resolutions = ["127.0.0.1", "169.254.169.254"]
    lookups: list[str] = []

    def rebinding(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        lookups.append(host)
        return [(2, 1, 6, "", (resolutions[min(len(lookups), 2) - 1] if host == "rebind.example" else host, port))]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        stream: httpcore2.NetworkStream = GuardedNetwork([f"rebind.example:{port}"], bounds).connect_tcp(
            "rebind.example", port
        )
        connected, _ = listener.accept()
        connected.close()
        stream.close()
    # The checked address is the one that is connected to.
    assert lookups.count("rebind.example") == 1
