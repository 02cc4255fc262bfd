"""Downloads https:// URIs: checks every redirect and resumes after broken connections."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin

import httpcore2
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from ttm_jobs.database.ids import new_id
from ttm_jobs.errors import SourceRefused, SourceUnreachable, TooLarge, UriNotAllowed
from ttm_jobs.uris import HttpUri, check_origin, parse_uri
from worker.inputs.network import Bounds, GuardedNetwork

_REDIRECTS = {301, 302, 303, 307, 308}
_MAX_REDIRECTS = 5
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_BROKEN = (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.RemoteProtocolError)


@dataclass(frozen=True)
class HttpLimits:
    """Limits of downloads. `origins` and `private_hosts` are as in the settings."""

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
    """Identifies the content of a URI by `name`. `validator` is its strong ETag or Last-Modified, if any."""

    name: str
    validator: str | None


class _Transient(Exception):
    """A temporary failure of the host."""


class HttpFetcher:
    """Downloads of one job. The limits apply to all of them together."""

    def __init__(self, limits: HttpLimits, check: Callable[[], None] = lambda: None) -> None:
        self._limits = limits
        self._bounds = Bounds(time.monotonic() + limits.seconds, limits.stall_seconds, limits.stall_bytes, check)

    def version(self, uri: HttpUri) -> Version:
        """Returns the current version of a URI from the response headers. Raises the errors of `fetch`."""
        if uri.sha256 is not None:
            return Version(f"sha256-{uri.sha256}", None)
        for attempt in self._attempts():
            with attempt, self._response(uri, []) as response:
                headers = _headers(response)
                validator = _validator(headers)
                content = new_id() if validator is None else f"{validator} {headers.get('content-length')}"
                return Version(f"http-{hashlib.sha256(f'{uri.url} {content}'.encode()).hexdigest()}", validator)
        raise AssertionError("the last attempt raises")

    def fetch(self, uri: HttpUri, version: Version, path: Path) -> None:
        """Downloads a version of a URI to `path`.

        Raises:
            UriNotAllowed: the host or a redirect is not allowed.
            SourceRefused: the response is unusable.
            TooLarge: the content exceeds the limit.
            SourceUnreachable: the host failed temporarily.

        Errors of `check` pass through.
        """
        validator = version.validator
        with path.open("wb") as out:
            for attempt in self._attempts():
                start = out.tell() if validator is not None else 0
                ranged = [("Range", f"bytes={start}-"), ("If-Range", validator or "")] if start else []
                with attempt, self._response(uri, ranged) as response:
                    self._receive(response, validator, start, out)
        if uri.sha256 is not None:
            with path.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != uri.sha256:
                    raise SourceRefused("The content does not have the SHA-256 in the URI.")

    def _receive(self, response: httpcore2.Response, validator: str | None, start: int, out: BinaryIO) -> None:
        headers = _headers(response)
        resumed = response.status == 206 and headers.get("content-range", "").startswith(f"bytes {start}-")
        received = _validator(headers)
        # A range response may omit Last-Modified.
        if validator is not None and received != validator and not (resumed and received is None):
            raise SourceUnreachable("The content changed during the download.")
        if response.status == 206 and not resumed:
            raise SourceRefused("The host sent a different range than requested.")
        out.seek(start if resumed else 0)
        out.truncate()
        if out.tell() + int(headers.get("content-length", 0)) > self._limits.max_bytes:
            raise TooLarge(f"The file is larger than the limit of {self._limits.max_bytes:,} bytes.")
        for chunk in response.iter_stream():
            if out.tell() + len(chunk) > self._limits.max_bytes:
                raise TooLarge(f"The file is larger than the limit of {self._limits.max_bytes:,} bytes.")
            out.write(chunk)

    @contextmanager
    def _response(self, uri: HttpUri, headers: list[tuple[str, str]]) -> Iterator[httpcore2.Response]:
        """Opens the response after redirects without reading its body."""
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
        raise SourceRefused(f"The URI redirects more than {_MAX_REDIRECTS} times.")

    def _attempts(self) -> Retrying:
        """Attempts with exponential backoff. Raises SourceUnreachable if the last one fails transiently."""
        return Retrying(
            retry=retry_if_exception_type((_Transient, *_BROKEN)),
            wait=wait_exponential(multiplier=self._limits.retry_seconds),
            stop=stop_after_attempt(self._limits.attempts),
            sleep=self._wait,
            retry_error_callback=_give_up,
        )

    def _wait(self, seconds: float) -> None:
        until = min(time.monotonic() + seconds, self._bounds.until)
        while time.monotonic() < until:
            self._bounds.enforce()
            time.sleep(min(0.2, seconds))


def _give_up(state: RetryCallState) -> None:
    assert state.outcome is not None
    error = state.outcome.exception()
    message = str(error) if isinstance(error, _Transient) else f"The connection broke: {type(error).__name__}."
    raise SourceUnreachable(message) from error


def _check(response: httpcore2.Response) -> None:
    if response.status in _TRANSIENT:
        raise _Transient(f"The host returned status {response.status}.")
    if response.status not in (200, 206):
        raise SourceRefused(f"The host returned status {response.status}.")
    headers = _headers(response)
    if headers.get("content-encoding", "identity") != "identity":
        raise SourceRefused("The host sent an encoding that was not requested.")


def _redirected(uri: HttpUri, location: str) -> HttpUri:
    target = parse_uri(urljoin(uri.url, location).partition("#")[0])
    if not isinstance(target, HttpUri):
        raise UriNotAllowed("The URI redirects to another scheme.")
    return target


def _headers(response: httpcore2.Response) -> dict[str, str]:
    return {name.decode("latin1").lower(): value.decode("latin1") for name, value in response.headers}


def _validator(headers: dict[str, str]) -> str | None:
    """The strong ETag, else Last-Modified."""
    tag = headers.get("etag", "")
    return tag if tag.startswith('"') else headers.get("last-modified")
