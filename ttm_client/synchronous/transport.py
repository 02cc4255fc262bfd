# Generated from asynchronous/transport.py by `python -m ttm_client.codegen.make_synchronous`: edit that file.
"""One place for HTTP: requests that are sent again while that can help, and streams."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2

from ttm_client import protocol
from ttm_client.errors import ConnectionFailed
from ttm_client.protocol import Params, StoreFailed

_READ_TIMEOUT = 45.0


class Transport:
    """Sends requests. Idempotent ones are tried again, with growing pauses, while the service is away or busy.

    A request whose connection could not even be made is tried again whatever its method: the service has not seen it.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        attempts: int = 5,
        first_pause: float = 0.2,
    ) -> None:
        self.base_url = protocol.address(base_url)
        self._headers = protocol.standing_headers(api_key)
        self._attempts = attempts
        self._first_pause = first_pause
        self._http = httpx2.Client(timeout=httpx2.Timeout(timeout, connect=5.0))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def pause(self, attempt: int) -> float:
        """Seconds to wait before the next try; `attempt` counts from 0."""
        return protocol.pause(self._first_pause, attempt)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Any = None,
        content: Iterator[bytes] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        once: bool = False,
    ) -> httpx2.Response:
        """The answer to a request, its body read; ApiError for a problem, ConnectionFailed for none.

        `once` names the request, so that the service does it once however often it is sent, and sends it again like an
        idempotent one.
        """
        sent = {**self._headers, **(headers or {}), **(protocol.name_of_request() if once else {})}
        repeatable = protocol.is_repeatable(method, once=once)
        # A streamed body is spent after the first try.
        attempts = self._attempts if content is None or isinstance(content, bytes) else 1
        for attempt in range(attempts):
            last = attempt == attempts - 1
            try:
                response = self._http.request(
                    method,
                    self.base_url + path,
                    params=protocol.without_none(params),
                    json=body,
                    content=content,
                    headers=sent,
                    timeout=httpx2.USE_CLIENT_DEFAULT if timeout is None else timeout,
                )
            except httpx2.ConnectError as error:
                if last:
                    raise ConnectionFailed(f"Nothing answers at {self.base_url}: {error}") from error
            except httpx2.TransportError as error:
                if last or not repeatable:
                    raise ConnectionFailed(f"{method} {path}: {error or type(error).__name__}") from error
            else:
                if last or not repeatable or not protocol.is_busy(response, once=once):
                    protocol.check(response)
                    return response
                time.sleep(protocol.retry_after(response) or self.pause(attempt))
                continue
            time.sleep(self.pause(attempt))
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None, read_timeout: float = _READ_TIMEOUT
    ) -> Iterator[httpx2.Response]:
        """The answer to one GET, its body not yet read. Transport errors of httpx2 pass through: the caller resumes."""
        with self._http.stream(
            "GET",
            self.base_url + path,
            headers={**self._headers, **(headers or {})},
            timeout=_patience(read_timeout),
        ) as response:
            if response.is_error:
                response.read()
            protocol.check(response)
            yield response

    @contextmanager
    def fetch(self, path: str, headers: Mapping[str, str], *, direct: bool) -> Iterator[httpx2.Response]:
        """The answer to one GET of a file, its body not yet read: that of the object store, where the service leads
        there and `direct` allows it. The store is told no key.

        StoreFailed for whatever goes wrong there; otherwise as `stream`.
        """
        with self.stream(path if direct else protocol.undirected(path), headers=headers) as response:
            location = response.headers.get("location") if response.is_redirect else None
            if location is None:
                yield response
                return
        try:
            with self._http.stream("GET", location, headers=headers, timeout=_patience(_READ_TIMEOUT)) as response:
                if not response.is_success:
                    raise StoreFailed(f"the object store answered {response.status_code}")
                yield response
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise StoreFailed(f"the object store cannot be reached: {error or type(error).__name__}") from error


def _patience(read: float) -> httpx2.Timeout:
    return httpx2.Timeout(30.0, connect=5.0, read=read)
