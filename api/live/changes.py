"""Long polling: one poller per process reads job versions for all waiting requests.

A waiting request needs neither a thread nor a database connection.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter, move_on_after, to_thread
from sqlalchemy import Engine
from starlette.requests import Request

from api.live.poller import Poller
from ttm_jobs.database.engine import read_scope
from ttm_jobs.repositories.run_data import events


class JobChanges:
    """Waits for changes of jobs. Call all methods on the event loop; only the database is read in a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: Counter[str] = Counter()
        self._versions: dict[str, int] = {}
        self._polled = asyncio.Event()
        self._closed = False
        self._threads = CapacityLimiter(1)
        self._poller = Poller(self._poll, is_needed=lambda: bool(self._waiting))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the poller within this block."""
        async with self._poller.running():
            try:
                yield
            finally:
                self.close()

    def close(self) -> None:
        """Ends all waits."""
        self._closed = True
        self._polled.set()

    async def wait(self, job_id: str, version: int, seconds: float, request: Request) -> None:
        """Returns when the job's version has changed, after `seconds`, or when the client has disconnected."""
        self._waiting[job_id] += 1
        self._poller.wake()
        try:
            with move_on_after(seconds):
                while self._versions.get(job_id, version) == version and not self._closed:
                    await self._polled.wait()
                    if await request.is_disconnected():
                        return
        finally:
            self._waiting[job_id] -= 1
            if not self._waiting[job_id]:
                del self._waiting[job_id]
                self._versions.pop(job_id, None)

    async def _poll(self) -> None:
        job_ids = list(self._waiting)
        try:
            found = await to_thread.run_sync(self._read, job_ids, limiter=self._threads)
            # A deleted job counts as changed.
            self._versions = {job_id: found.get(job_id, -1) for job_id in job_ids if job_id in self._waiting}
        finally:
            polled, self._polled = self._polled, asyncio.Event()
            polled.set()

    def _read(self, job_ids: list[str]) -> dict[str, int]:
        with read_scope(self._engine) as session:
            return events.job_versions(session, job_ids)
