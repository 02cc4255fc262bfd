"""HTTP fetches from misbehaving hosts."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.hostile_host import CONTENT, HostileHost
from ttm_jobs.broker.embedded import free_port
from ttm_jobs.errors import FetchStopped, SourceRefused, SourceUnreachable, TooLarge, UriNotAllowed
from ttm_jobs.uris import HttpUri, parse_uri
from worker.inputs.http import HttpFetcher, HttpLimits, Version


@pytest.fixture
def host() -> Iterator[HostileHost]:
    with HostileHost() as host:
        yield host


@pytest.fixture
def limits(host: HostileHost) -> HttpLimits:
    return HttpLimits(
        origins=(host.origin,),
        private_hosts=(f"127.0.0.1:{host.port}",),
        max_bytes=2 * len(CONTENT),
        seconds=20,
        stall_seconds=0.5,
        stall_bytes=1000,
        retry_seconds=0.001,
    )


def address(host: HostileHost, path: str) -> HttpUri:
    parsed = parse_uri(f"{host.origin}/{path}")
    assert isinstance(parsed, HttpUri)
    return parsed


def fetch(limits: HttpLimits, uri: HttpUri, path: Path) -> bytes:
    fetcher = HttpFetcher(limits)
    fetcher.fetch(uri, fetcher.version(uri), path)
    return path.read_bytes()


@pytest.mark.parametrize("path", ["file", "untagged", "redirect?/file", "busy-twice"])
def test_file_is_fetched_completely(host: HostileHost, limits: HttpLimits, tmp_path: Path, path: str) -> None:
    assert fetch(limits, address(host, path), tmp_path / "x") == CONTENT


def test_version_changes_with_the_content(host: HostileHost, limits: HttpLimits) -> None:
    uri = address(host, "file")
    first, second = (HttpFetcher(limits).version(uri) for _ in range(2))
    host.content += b"x"
    assert first == second != HttpFetcher(limits).version(uri)
    untagged = address(host, "untagged")
    assert HttpFetcher(limits).version(untagged) != HttpFetcher(limits).version(untagged)


def test_interrupted_response_is_resumed_with_a_range(host: HostileHost, limits: HttpLimits, tmp_path: Path) -> None:
    assert fetch(limits, address(host, "cut"), tmp_path / "x") == CONTENT
    assert [requested_range for _, requested_range in host.requests] == [
        None,
        None,
        "bytes=300000-",
        "bytes=600000-",
        "bytes=900000-",
    ]


def test_fetch_fails_after_repeated_interruptions(host: HostileHost, limits: HttpLimits, tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable, match="connection broke"):
        fetch(limits, address(host, "cut-without-ranges"), tmp_path / "x")
    assert len(host.requests) == 1 + limits.attempts


def test_content_that_changes_during_the_fetch_is_rejected(
    host: HostileHost, limits: HttpLimits, tmp_path: Path
) -> None:
    with pytest.raises(SourceUnreachable, match="changed during"):
        fetch(limits, address(host, "changing"), tmp_path / "x")


def test_hash_in_the_uri_is_verified(host: HostileHost, limits: HttpLimits, tmp_path: Path) -> None:
    good = hashlib.sha256(CONTENT).hexdigest()
    assert fetch(limits, address(host, f"file#sha256={good}"), tmp_path / "x") == CONTENT
    with pytest.raises(SourceRefused, match="SHA-256"):
        fetch(limits, address(host, f"file#sha256={64 * '0'}"), tmp_path / "x")


FOREIGN = [
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:1/",
    "http://2130706433/",
    "http://localhost/",
    "//169.254.169.254/",
    "https://example.com/",
    "file:///etc/passwd",
    "ftp://example.com/",
    "gopher://127.0.0.1/",
    "",
]


@pytest.mark.parametrize("target", FOREIGN)
def test_redirect_to_another_origin_is_refused(
    host: HostileHost, limits: HttpLimits, tmp_path: Path, target: str
) -> None:
    # The client would reject a target with spaces, so the server writes the redirect target.
    uri = replace(address(host, "redirect"), target=f"/redirect?{target}")
    with pytest.raises((UriNotAllowed, SourceRefused)):
        fetch(limits, uri, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_redirect_to_an_allowed_name_with_a_private_address_is_refused(
    host: HostileHost, limits: HttpLimits, tmp_path: Path
) -> None:
    """Allowing a host name does not allow private addresses."""
    allowed = f"http://localhost:{host.port}"
    uri = address(host, f"redirect?{allowed}/file")
    with pytest.raises(UriNotAllowed, match="not public"):
        fetch(replace(limits, origins=(host.origin, allowed)), uri, tmp_path / "x")


REFUSED = {
    "loop": (SourceRefused, "redirects more than"),
    "zipped": (SourceRefused, "encoding"),
    "missing": (SourceRefused, "404"),
    "broken": (SourceUnreachable, "500"),
    "not-http": (SourceUnreachable, "connection broke"),
    "endless": (TooLarge, "larger than"),
    "huge": (TooLarge, "larger than"),
    "drip": (SourceUnreachable, r"sent \d+ bytes in"),
    "drip-headers": (SourceUnreachable, r"sent \d+ bytes in"),
    "unresponsive": (SourceUnreachable, r"sent 0 bytes in"),
}


@pytest.mark.parametrize("path", REFUSED)
def test_misbehaving_host_is_refused(host: HostileHost, limits: HttpLimits, tmp_path: Path, path: str) -> None:
    kind, words = REFUSED[path]
    with pytest.raises(kind, match=words):
        fetch(limits, address(host, path), tmp_path / "x")


def test_total_fetch_time_is_limited(host: HostileHost, limits: HttpLimits, tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable, match="exceeded the time limit"):
        fetch(replace(limits, seconds=0.5, stall_bytes=1, max_bytes=10**15), address(host, "endless"), tmp_path / "x")


def test_stop_request_interrupts_a_fetch(host: HostileHost, limits: HttpLimits, tmp_path: Path) -> None:
    def check_stop() -> None:
        if host.requests:
            raise FetchStopped

    fetcher = HttpFetcher(replace(limits, stall_seconds=60), check_stop)
    with pytest.raises(FetchStopped):
        fetcher.fetch(address(host, "unresponsive"), Version("x", '"x"'), tmp_path / "x")


def test_unreachable_host_is_an_error(tmp_path: Path) -> None:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    limits = HttpLimits((origin,), (f"127.0.0.1:{port}",), retry_seconds=0.001)
    uri = parse_uri(f"{origin}/x")
    assert isinstance(uri, HttpUri)
    with pytest.raises(SourceUnreachable, match="refuses connections"):
        fetch(limits, uri, tmp_path / "x")
