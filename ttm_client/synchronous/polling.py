# From asynchronous/polling.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""Requests that are repeated while the service cannot be reached."""

import time
from collections.abc import Callable
from typing import TypeVar

from ttm_client.errors import ConnectionFailed, Unavailable

T = TypeVar("T")
_PAUSE_SECONDS = 1.0


def answer(get: Callable[[], T], *, reconnect_timeout: float, deadline: float | None) -> T:
    """Returns what `get` returns. Calls it again after ConnectionFailed and Unavailable, and raises them after
    `reconnect_timeout` seconds, or at the `deadline` of the monotonic clock.
    """
    last = time.monotonic() + reconnect_timeout
    if deadline is not None:
        last = min(last, deadline)
    while True:
        try:
            return get()
        except (ConnectionFailed, Unavailable):
            left = last - time.monotonic()
            if left <= 0:
                raise
            time.sleep(min(_PAUSE_SECONDS, left))
