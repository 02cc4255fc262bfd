"""Requests that are repeated while the service cannot be reached."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from ttm_client.errors import ConnectionFailed, Unavailable, WaitTimeout
from ttm_client.models.jobs import Job
from ttm_client.models.studies import Study
from ttm_client.protocol import positive_seconds, seconds

T = TypeVar("T")
Ended = TypeVar("Ended", Job, Study)
_PAUSE_SECONDS = 1.0


async def wait_until_done(
    get: Callable[[str], Awaitable[Ended]],
    reference: str,
    *,
    timeout: float | None,
    interval: float,
    reconnect_timeout: float,
    on_update: Callable[[Ended], None],
) -> Ended:
    """Returns the job or study once it has ended. Calls `on_update` after every poll. Raises the errors of the first
    poll, WaitTimeout after `timeout` seconds, and ConnectionFailed or Unavailable after `reconnect_timeout` seconds
    without an answer.
    """
    interval = positive_seconds(interval, "interval")
    reconnect_timeout = seconds(reconnect_timeout, "reconnect_timeout")
    timeout = None if timeout is None else seconds(timeout, "timeout")
    deadline = None if timeout is None else time.monotonic() + timeout
    found = await get(reference)
    while True:
        on_update(found)
        if found.done:
            return found
        left = interval if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise WaitTimeout(f"{type(found).__name__} {reference} is still {found.state} after {timeout:g} s.")
        await asyncio.sleep(min(interval, left))
        # By its id: another one may have the name by now.
        found = await answer(partial(get, found.id), reconnect_timeout=reconnect_timeout, deadline=deadline)


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
