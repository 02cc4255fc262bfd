"""A background task that hashes uploads whose bytes were received by several processes, and completes them."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy import Engine

from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, read_scope, session_scope
from ttm_jobs.errors import ServiceError
from ttm_jobs.repositories import uploads
from ttm_jobs.storage import Storage

log = structlog.get_logger()

# An upload whose process died waits for the end of the claim and at most this long.
_POLL_SECONDS = 2.0
_LEASE_SECONDS = 10.0


class Finalizer:
    """Claims one finalizing upload at a time in the database. A claim is extended while the upload is hashed, so the
    uploads of a process that died are claimed by another one.
    """

    def __init__(self, engine: Engine, storage: Storage, lease_seconds: float = _LEASE_SECONDS) -> None:
        self._engine = engine
        self._storage = storage
        self._lease = timedelta(seconds=lease_seconds)
        self._threads = CapacityLimiter(1)
        self._woken = asyncio.Event()
        self._closed = False

    def wake(self) -> None:
        """Looks for finalizing uploads now. Call it on the event loop."""
        self._woken.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Finalizes uploads within this block."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            # The thread ends at its next chunk; the claim expires.
            self._closed = True
            self._woken.set()
            await task

    async def _run(self) -> None:
        while not self._closed:
            self._woken.clear()
            found = False
            try:
                found = await to_thread.run_sync(self._finalize_next, limiter=self._threads)
            except (ServiceError, OSError, *DATABASE_UNAVAILABLE) as error:
                log.warning("cannot finalize uploads", error=f"{type(error).__name__}: {error}")
            except Exception:
                # The task must survive any error: without it, uploads stay incomplete.
                log.exception("cannot finalize uploads")
            if not found and not self._closed:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), _POLL_SECONDS)

    def _finalize_next(self) -> bool:
        """Completes one upload. Returns False if there is none to claim."""
        with read_scope(self._engine) as session:
            # Most polls find nothing; a write transaction would block other writers of SQLite.
            if not uploads.any_finalizing(session):
                return False
        with session_scope(self._engine) as session:
            upload = uploads.claim_finalizing(session, self._lease)
            if upload is None:
                return False
            keys = uploads.object_keys(session, upload)
        sha256 = self._hash(upload.id, keys)
        if sha256 is not None:
            with session_scope(self._engine) as session:
                uploads.finish(session, upload.id, sha256=sha256)
        return True

    def _hash(self, upload_id: str, keys: Sequence[str]) -> str | None:
        """The SHA-256 of the objects in order. None if the upload was deleted or the process ends."""
        digest = hashlib.sha256()
        extend_at = time.monotonic() + self._lease.total_seconds() / 3
        for key in keys:
            for chunk in self._storage.open(key):
                digest.update(chunk)
                if self._closed:
                    return None
                if time.monotonic() >= extend_at:
                    with session_scope(self._engine) as session:
                        if not uploads.extend_finalizing(session, upload_id, self._lease):
                            return None
                    extend_at = time.monotonic() + self._lease.total_seconds() / 3
        return digest.hexdigest()
