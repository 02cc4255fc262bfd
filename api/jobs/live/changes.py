"""Long polls: one poller on this process looks for all who wait, so that waiting costs neither a thread nor a database
connection.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from anyio import CapacityLimiter, move_on_after, to_thread
from sqlalchemy import Engine
from starlette.requests import Request

from ttm_jobs.database.engine import read_scope
from ttm_jobs.repositories.run_data import events

log = structlog.get_logger()

_POLL_SECONDS = 0.3


class Changes:
    """The jobs that somebody waits for. All methods belong to the event loop; only reading happens in a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: Counter[str] = Counter()
        self._versions: dict[str, int] = {}
        self._wanted = asyncio.Event()
        self._looked = asyncio.Event()
        self._closed = False
        self._threads = CapacityLimiter(1)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The poller runs within this block."""
        poller = asyncio.create_task(self._poll_forever())
        try:
            yield
        finally:
            self.close()
            poller.cancel()

    def close(self) -> None:
        """Let everyone who waits go."""
        self._closed = True
        self._looked.set()

    async def wait(self, job_id: str, version: int, seconds: float, request: Request) -> None:
        """Returns once the job's version is another, the time is over, or the client has gone away."""
        self._waiting[job_id] += 1
        self._wanted.set()
        try:
            with move_on_after(seconds):
                while self._versions.get(job_id, version) == version and not self._closed:
                    await self._looked.wait()
                    if await request.is_disconnected():
                        return
        finally:
            self._waiting[job_id] -= 1
            if not self._waiting[job_id]:
                del self._waiting[job_id]
                self._versions.pop(job_id, None)

    async def _poll_forever(self) -> None:
        while True:
            if not self._waiting:
                self._wanted.clear()
                await self._wanted.wait()
            wanted = list(self._waiting)
            try:
                found = await to_thread.run_sync(self._read, wanted, limiter=self._threads)
                # A job that is gone has changed, too.
                self._versions = {job_id: found.get(job_id, -1) for job_id in wanted if job_id in self._waiting}
            except Exception:
                # Whatever it is, a poller that ended would leave everyone waiting for the whole of their time.
                log.exception("versions cannot be read")
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
            await asyncio.sleep(_POLL_SECONDS)

    def _read(self, job_ids: list[str]) -> dict[str, int]:
        with read_scope(self._engine) as session:
            return events.job_versions(session, job_ids)
