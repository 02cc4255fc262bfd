"""One place for HTTP: base URL, key, retries, and problems turned into exceptions."""

import json
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from uuid import uuid4

import httpx2

from ttm_client.errors import ConnectionFailed, FieldError, error_class

DEFAULT_URL = "http://127.0.0.1:8000"
_RETRIED_STATUSES = frozenset({429, 502, 503, 504})
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_MAX_RETRY_AFTER = 60.0

Params = Mapping[str, str | int | list[str] | None]


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
        http: httpx2.Client | None = None,
    ) -> None:
        url = base_url or os.environ.get("TTM_URL") or DEFAULT_URL
        key = api_key or os.environ.get("TTM_API_KEY")
        headers = {"User-Agent": "ttm-client", "Accept": "application/json, application/problem+json;q=0.9, */*;q=0.8"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self.base_url = url.rstrip("/")
        self._attempts = attempts
        self._first_pause = first_pause
        self._http = http or httpx2.Client(timeout=httpx2.Timeout(timeout, connect=5.0))
        self._headers = headers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def pause(self, attempt: int) -> float:
        """Seconds to wait before the next try; `attempt` counts from 0. Jittered, so that clients stay out of step."""
        return min(self._first_pause * 2.0**attempt, 10.0) * random.uniform(0.75, 1.25)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Any = None,
        content: Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        once: bool = False,
    ) -> httpx2.Response:
        """The answer to a request, its body read; ApiError for a problem, ConnectionFailed for none.

        `once` names the request, so that the service does it once however often it is sent, and sends it again like an
        idempotent one.
        """
        headers = {**self._headers, **(headers or {}), **({"Idempotency-Key": str(uuid4())} if once else {})}
        repeatable = once or method in _IDEMPOTENT
        # A streamed body is spent after the first try.
        attempts = 1 if content is not None else self._attempts
        for attempt in range(attempts):
            last = attempt == attempts - 1
            try:
                response = self._http.request(
                    method,
                    self.base_url + path,
                    params=_without_none(params),
                    json=body,
                    content=content,
                    headers=headers,
                    timeout=httpx2.USE_CLIENT_DEFAULT if timeout is None else timeout,
                )
            except httpx2.ConnectError as error:
                if last:
                    raise ConnectionFailed(f"Nothing answers at {self.base_url}: {error}") from error
            except httpx2.TransportError as error:
                if last or not repeatable:
                    raise ConnectionFailed(f"{method} {path}: {error or type(error).__name__}") from error
            else:
                busy = response.status_code in _RETRIED_STATUSES or (once and _is_in_flight(response))
                if last or not busy or not repeatable:
                    check(response)
                    return response
                time.sleep(_retry_after(response) or self.pause(attempt))
                continue
            time.sleep(self.pause(attempt))
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None, read_timeout: float = 45.0
    ) -> Iterator[httpx2.Response]:
        """The answer to one GET, its body not yet read. Transport errors of httpx2 pass through: the caller resumes."""
        with self._http.stream(
            "GET",
            self.base_url + path,
            headers={**self._headers, **(headers or {})},
            timeout=httpx2.Timeout(30.0, connect=5.0, read=read_timeout),
        ) as response:
            if response.is_error:
                response.read()
            check(response)
            yield response


def check(response: httpx2.Response) -> None:
    """Raise the ApiError that an error answer stands for."""
    if not response.is_error:
        return
    try:
        problem = json.loads(response.content)
    except ValueError:
        problem = None
    # A proxy in between answers in its own form.
    fields: dict[str, Any] = problem if isinstance(problem, dict) else {}
    raise error_class(response.status_code)(
        status=response.status_code,
        code=str(fields.get("code", "http_error")),
        title=str(fields.get("title", response.reason_phrase)),
        detail=str(fields.get("detail", "")) or f"{response.status_code} {response.reason_phrase}",
        errors=tuple(
            FieldError(str(entry.get("pointer", "")), str(entry.get("detail", "")))
            for entry in fields.get("errors") or ()
            if isinstance(entry, dict)
        ),
        request_id=response.headers.get("x-request-id"),
    )


def _is_in_flight(response: httpx2.Response) -> bool:
    # The first try reached the service, though its answer did not come back.
    return response.status_code == 409 and b'"request_in_flight"' in response.content


def _retry_after(response: httpx2.Response) -> float | None:
    try:
        return min(max(float(response.headers["retry-after"]), 0.0), _MAX_RETRY_AFTER)
    except (KeyError, ValueError):
        return None


def _without_none(params: Params | None) -> dict[str, str | int | list[str]]:
    return {name: value for name, value in (params or {}).items() if value is not None}
