"""What hosts may do to a fetch, and what comes of it."""

import hashlib
import time
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
def test_a_file_arrives_whole(host: HostileHost, limits: HttpLimits, tmp_path: Path, path: str) -> None:
    assert fetch(limits, address(host, path), tmp_path / "x") == CONTENT


def test_another_content_has_another_name(host: HostileHost, limits: HttpLimits) -> None:
    uri = address(host, "file")
    first, again = (HttpFetcher(limits).version(uri) for _ in range(2))
    host.content += b"x"
    assert first == again != HttpFetcher(limits).version(uri)
    untagged = address(host, "untagged")
    assert HttpFetcher(limits).version(untagged) != HttpFetcher(limits).version(untagged)


def test_a_cut_answer_is_gone_on_with(host: HostileHost, limits: HttpLimits, tmp_path: Path) -> None:
    assert fetch(limits, address(host, "cut"), tmp_path / "x") == CONTENT
    assert [told for _, told in host.asked] == [None, None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_host_that_always_cuts_is_given_up(host: HostileHost, limits: HttpLimits, tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable, match="connection broke"):
        fetch(limits, address(host, "cut-without-ranges"), tmp_path / "x")
    assert len(host.asked) == 1 + limits.attempts


def test_a_content_that_changes_meanwhile_is_not_mixed(host: HostileHost, limits: HttpLimits, tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable, match="changed during"):
        fetch(limits, address(host, "changing"), tmp_path / "x")


def test_a_hash_in_the_address_is_held_to(host: HostileHost, limits: HttpLimits, tmp_path: Path) -> None:
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
def test_a_redirect_leads_nowhere_else(host: HostileHost, limits: HttpLimits, tmp_path: Path, target: str) -> None:
    # A request with a space or the like would not be sent; the host itself writes the target.
    uri = replace(address(host, "redirect"), target=f"/redirect?{target}")
    with pytest.raises((UriNotAllowed, SourceRefused)):
        fetch(limits, uri, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_redirect_to_an_allowed_name_of_a_private_address_is_refused(
    host: HostileHost, limits: HttpLimits, tmp_path: Path
) -> None:
    """The operator allowed the host, and not that it lies on this machine."""
    named = f"http://localhost:{host.port}"
    uri = address(host, f"redirect?{named}/file")
    with pytest.raises(UriNotAllowed, match="not public"):
        fetch(replace(limits, origins=(host.origin, named)), uri, tmp_path / "x")


REFUSED = {
    "loop": (SourceRefused, "redirects more than"),
    "zipped": (SourceRefused, "encoding"),
    "missing": (SourceRefused, "404"),
    "broken": (SourceUnreachable, "500"),
    "not-http": (SourceUnreachable, "connection broke"),
    "endless": (TooLarge, "larger than"),
    "huge": (TooLarge, "larger than"),
    "drip": (SourceUnreachable, r"sent \d+ bytes in"),
    "drip-of-headers": (SourceUnreachable, r"sent \d+ bytes in"),
    "silent": (SourceUnreachable, r"sent 0 bytes in"),
}


@pytest.mark.parametrize("path", REFUSED)
def test_a_host_that_misbehaves_is_left(host: HostileHost, limits: HttpLimits, tmp_path: Path, path: str) -> None:
    kind, words = REFUSED[path]
    with pytest.raises(kind, match=words):
        fetch(limits, address(host, path), tmp_path / "x")


def test_the_time_for_all_of_it_is_bounded(host: HostileHost, limits: HttpLimits, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(SourceUnreachable, match="exceeded the time limit"):
        fetch(replace(limits, seconds=0.5, stall_bytes=1, max_bytes=10**15), address(host, "endless"), tmp_path / "x")
    assert time.monotonic() - started < 10


def test_a_stop_is_noticed_in_the_middle(host: HostileHost, limits: HttpLimits, tmp_path: Path) -> None:
    def go_on() -> None:
        if host.asked:
            raise FetchStopped

    fetcher = HttpFetcher(replace(limits, stall_seconds=60), go_on)
    with pytest.raises(FetchStopped):
        fetcher.fetch(address(host, "silent"), Version("x", '"x"'), tmp_path / "x")


def test_a_host_that_is_away(tmp_path: Path) -> None:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    limits = HttpLimits((origin,), (f"127.0.0.1:{port}",), retry_seconds=0.001)
    uri = parse_uri(f"{origin}/x")
    assert isinstance(uri, HttpUri)
    with pytest.raises(SourceUnreachable, match="refuses connections"):
        fetch(limits, uri, tmp_path / "x")
