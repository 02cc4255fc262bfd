"""Requests that are repeated while the service cannot be reached."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ttm_client.errors import ConnectionFailed, Unavailable

T = TypeVar("T")
_PAUSE_SECONDS = 1.0


async def answer(get: Callable[[], Awaitable[T]], *, reconnect_timeout: float, deadline: float | None) -> T:
    """Returns what `get` returns. Calls it again after ConnectionFailed and Unavailable, and raises them after
    `reconnect_timeout` seconds, or at the `deadline` of the monotonic clock.
    """
    last = time.monotonic() + reconnect_timeout
    if deadline is not None:
        last = min(last, deadline)
    while True:
        try:
            return await get()
        except (ConnectionFailed, Unavailable):
            left = last - time.monotonic()
            if left <= 0:
                raise
            await asyncio.sleep(min(_PAUSE_SECONDS, left))
