"""Fetches https:// addresses: redirects are followed by hand, cut connections are made again where they broke."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin

import httpcore2

from ttm_jobs.database.ids import new_id
from ttm_jobs.errors import SourceRefused, SourceUnreachable, TooLarge, UriNotAllowed
from ttm_jobs.uris import HttpUri, check_origin, parse_uri
from worker.inputs.network import Bounds, GuardedNetwork

_REDIRECTS = {301, 302, 303, 307, 308}
_MAX_REDIRECTS = 5
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_BROKEN = (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.RemoteProtocolError)


@dataclass(frozen=True)
class HttpLimits:
    """What may be fetched from where; `origins` and `private_hosts` as in the settings."""

    origins: Sequence[str]
    private_hosts: Sequence[str] = ()
    max_bytes: int = 200 * 2**30
    seconds: float = 6 * 3600.0
    stall_seconds: float = 60.0
    stall_bytes: int = 64 * 1024
    attempts: int = 6
    retry_seconds: float = 1.0


@dataclass(frozen=True)
class Version:
    """A content of an address: another has another `name`; `validator` is what the host calls it, if it does."""

    name: str
    validator: str | None


class _Passing(Exception):
    """The host may answer otherwise soon."""


class HttpFetcher:
    """What one job fetches by https://, within bounds that hold for all of it together."""

    def __init__(self, limits: HttpLimits, go_on: Callable[[], None] = lambda: None) -> None:
        self._limits = limits
        self._bounds = Bounds(time.monotonic() + limits.seconds, limits.stall_seconds, limits.stall_bytes, go_on)

    def version(self, uri: HttpUri) -> Version:
        """Of what lies at the address now; only the head of the answer is read. The errors of `fetch`."""
        if uri.sha256 is not None:
            return Version(f"sha256-{uri.sha256}", None)
        for _ in self._attempts():
            with self._passing(), self._answer(uri, []) as response:
                headers = _headers(response)
                validator = _validator(headers)
                told = new_id() if validator is None else f"{validator} {headers.get('content-length')}"
                return Version(f"http-{hashlib.sha256(f'{uri.url} {told}'.encode()).hexdigest()}", validator)
        raise AssertionError("the last attempt raises")

    def fetch(self, uri: HttpUri, version: Version, path: Path) -> None:
        """Write that version of what lies at the address to `path`.

        Raises UriNotAllowed for a host or a redirect that is not allowed, SourceRefused for an answer of no use,
        TooLarge, SourceUnreachable where trying again later may help, and what `go_on` raises.
        """
        validator = version.validator
        with path.open("wb") as out:
            for _ in self._attempts():
                start = out.tell() if validator is not None else 0
                ranged = [("Range", f"bytes={start}-"), ("If-Range", validator or "")] if start else []
                with self._passing(), self._answer(uri, ranged) as response:
                    self._receive(response, validator, start, out)
                    break
        if uri.sha256 is not None:
            with path.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != uri.sha256:
                    raise SourceRefused("What lies at the address does not have the SHA-256 that the address names.")

    def _receive(self, response: httpcore2.Response, validator: str | None, start: int, out: BinaryIO) -> None:
        headers = _headers(response)
        resumed = response.status == 206 and headers.get("content-range", "").startswith(f"bytes {start}-")
        told = _validator(headers)
        # The answer to a range need not tell the time of the last change again.
        if validator is not None and told != validator and not (resumed and told is None):
            raise SourceUnreachable("What lies at the address changed while it was fetched.")
        if response.status == 206 and not resumed:
            raise SourceRefused("The host sends another part of the file than it was asked for.")
        out.seek(start if resumed else 0)
        out.truncate()
        if out.tell() + int(headers.get("content-length", 0)) > self._limits.max_bytes:
            raise TooLarge(f"The file is larger than the {self._limits.max_bytes:,} bytes that may be fetched.")
        for chunk in response.iter_stream():
            if out.tell() + len(chunk) > self._limits.max_bytes:
                raise TooLarge(f"The file is larger than the {self._limits.max_bytes:,} bytes that may be fetched.")
            out.write(chunk)

    @contextmanager
    def _answer(self, uri: HttpUri, headers: list[tuple[str, str]]) -> Iterator[httpcore2.Response]:
        """The answer of the host that the redirects end at, its body not read yet."""
        network = GuardedNetwork(self._limits.private_hosts, self._bounds)
        sent = [("Accept-Encoding", "identity"), ("User-Agent", "ttm"), *headers]
        with httpcore2.ConnectionPool(network_backend=network) as pool:
            for _ in range(_MAX_REDIRECTS + 1):
                check_origin(uri, self._limits.origins)
                host = uri.origin.partition("://")[2]
                with pool.stream("GET", uri.url, headers=[("Host", host), *sent]) as response:
                    if response.status not in _REDIRECTS:
                        _check(response)
                        yield response
                        return
                    uri = _redirected(uri, _headers(response).get("location", ""))
        raise SourceRefused(f"The address redirects more than {_MAX_REDIRECTS} times.")

    def _attempts(self) -> Iterator[None]:
        """Turns at an address; each but the last may end in `_Passing`."""
        for attempt in range(self._limits.attempts):
            self._left = self._limits.attempts - attempt - 1
            yield
            self._wait(self._limits.retry_seconds * 2**attempt)

    @contextmanager
    def _passing(self) -> Iterator[None]:
        """Lets an attempt fail that is not the last."""
        try:
            yield
        except (_Passing, *_BROKEN) as error:
            if not self._left:
                told = str(error) if isinstance(error, _Passing) else f"The connection broke: {type(error).__name__}."
                raise SourceUnreachable(told) from error

    def _wait(self, seconds: float) -> None:
        until = min(time.monotonic() + seconds, self._bounds.until)
        while time.monotonic() < until:
            self._bounds.check()
            time.sleep(min(0.2, seconds))


def _check(response: httpcore2.Response) -> None:
    if response.status in _PASSING:
        raise _Passing(f"The host answers with status {response.status}.")
    if response.status not in (200, 206):
        raise SourceRefused(f"The host answers with status {response.status}.")
    headers = _headers(response)
    if headers.get("content-encoding", "identity") != "identity":
        raise SourceRefused("The host sends the file in an encoding that was not asked for.")


def _redirected(uri: HttpUri, location: str) -> HttpUri:
    target = parse_uri(urljoin(uri.url, location).partition("#")[0])
    if not isinstance(target, HttpUri):
        raise UriNotAllowed("The address redirects to one of another kind.")
    return target


def _headers(response: httpcore2.Response) -> dict[str, str]:
    return {name.decode("latin1").lower(): value.decode("latin1") for name, value in response.headers}


def _validator(headers: dict[str, str]) -> str | None:
    """What changes whenever the content does: a strong entity tag, else the time of the last change."""
    tag = headers.get("etag", "")
    return tag if tag.startswith('"') else headers.get("last-modified")
