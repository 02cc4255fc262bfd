# From asynchronous/transport.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""HTTP requests with retries, and streams."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
)

from ttm_client import protocol
from ttm_client.http_clients import Http
from ttm_client.protocol import Params, StoreFailed

_READ_TIMEOUT = 45.0


class Transport:
    """Sends requests. Retries idempotent ones with exponential backoff while the service is unavailable or busy.

    A request whose connection could not be opened is retried whatever its method: the service has not received it.
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
        self._headers = protocol.default_headers(api_key)
        self.proxy = protocol.proxy_of(self.base_url)
        self._attempts = attempts
        self._first_pause = first_pause
        self._http = protocol.opened(Http, timeout)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def pause(self, attempt: int) -> float:
        """Seconds to wait before the next attempt. `attempt` counts from 0."""
        return protocol.pause(self._first_pause, attempt)

    def _wait(self, state: RetryCallState) -> float:
        """Seconds in Retry-After, or exponential backoff."""
        outcome = state.outcome
        asked = None if outcome is None or outcome.failed else protocol.retry_after(outcome.result())
        return asked or self.pause(state.attempt_number - 1)

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
        """Returns the response with its body read. Raises ApiError for a problem, ConnectionFailed without a response,
        and UnexpectedResponse for a redirect or a web page.

        A body with NaN or infinity is not sent: it raises InvalidRequest. One with types that JSON does not have raises
        TypeError. `once` adds an Idempotency-Key, which makes
        the request safe to retry.
        """
        body = protocol.json_body(body)
        sent = {**self._headers, **(headers or {}), **(protocol.idempotency_key() if once else {})}
        repeatable = protocol.is_repeatable(method, once=once)
        retrying = Retrying(
            # A streamed body can be sent only once.
            stop=stop_after_attempt(self._attempts if content is None or isinstance(content, bytes) else 1),
            wait=self._wait,
            retry=retry_if_result(lambda response: repeatable and protocol.is_busy(response, once=once))
            | retry_if_exception_type(httpx2.TransportError if repeatable else httpx2.ConnectError),
            retry_error_callback=protocol.last_outcome,
            sleep=time.sleep,
        )
        try:
            response: httpx2.Response = retrying(
                self._http.request,
                method,
                self.base_url + path,
                params=protocol.without_none(params),
                json=body,
                content=content,
                headers=sent,
                timeout=httpx2.USE_CLIENT_DEFAULT if timeout is None else timeout,
            )
        except httpx2.InvalidURL as error:
            raise protocol.path_too_long(path, error) from error
        except httpx2.ConnectError as error:
            raise protocol.connection_failed(f"Cannot connect to {self.base_url}", error, self.proxy) from error
        except httpx2.TransportError as error:
            raise protocol.connection_failed(f"{method} {path}", error, self.proxy) from error
        protocol.check(response)
        protocol.check_source(response, path)
        return response

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None, read_timeout: float = _READ_TIMEOUT
    ) -> Iterator[httpx2.Response]:
        """Opens the response to one GET without reading its body. Transport errors propagate: the caller resumes."""
        with self._http.stream(
            "GET",
            self.base_url + path,
            headers={**self._headers, **(headers or {})},
            timeout=_timeout(read_timeout),
        ) as response:
            if response.is_error:
                response.read()
            protocol.check(response)
            yield response

    @contextmanager
    def fetch(self, path: str, headers: Mapping[str, str], *, direct: bool) -> Iterator[httpx2.Response]:
        """Opens the response to one GET of a file without reading its body.

        Follows a redirect to the object store where `direct` allows it, without sending the API key there. Raises
        StoreFailed if the object store fails.
        """
        with self.stream(path if direct else protocol.without_redirect(path), headers=headers) as response:
            location = response.headers.get("location") if response.is_redirect else None
            if location is None:
                yield response
                return
        try:
            with self._http.stream("GET", location, headers=headers, timeout=_timeout(_READ_TIMEOUT)) as response:
                if not response.is_success:
                    raise StoreFailed(f"the object store answered {response.status_code}")
                yield response
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise StoreFailed(f"the object store cannot be reached: {error or type(error).__name__}") from error


def _timeout(read: float) -> httpx2.Timeout:
    return httpx2.Timeout(30.0, connect=5.0, read=read)
