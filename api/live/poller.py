"""A background task that reads the database at intervals while requests wait for its result."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

log = structlog.get_logger()

_POLL_SECONDS = 0.3


class Poller:
    """Calls `poll` every 0.3 s while `is_needed()` is true. Call its methods on the event loop."""

    def __init__(self, poll: Callable[[], Awaitable[None]], is_needed: Callable[[], bool]) -> None:
        self._poll = poll
        self._is_needed = is_needed
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Polls again after `is_needed()` has become true."""
        self._woken.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Polls within this block."""
        task = asyncio.create_task(self._poll_forever())
        try:
            yield
        finally:
            task.cancel()

    async def _poll_forever(self) -> None:
        while True:
            if not self._is_needed():
                self._woken.clear()
                await self._woken.wait()
            try:
                await self._poll()
            except Exception:
                # The task must survive any error: without it, requests wait for their full timeout.
                log.exception("cannot read changes of jobs")
            await asyncio.sleep(_POLL_SECONDS)
