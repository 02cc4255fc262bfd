"""A process's output, kept up to a size: the newest part of it."""

import logging
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import BinaryIO, Self

from sqlalchemy import Engine
from sqlalchemy.orm.attributes import flag_modified

from ttm_jobs.database.engine import DATABASE_AWAY, session_scope
from ttm_jobs.errors import LeaseLost, ServiceError
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.storage import Storage
from worker.run.publish import delete_objects, publish_log

_CHUNK = 64 * 1024


class LogFile:
    """Writes `path`, and moves it to `path.1` when half of `max_bytes` is full: the two together hold the newest
    output.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._older = path.with_name(path.name + ".1")
        self._half = max_bytes // 2

    def copy(self, source: BinaryIO) -> None:
        """Copies a pipe until it is closed. Goes on reading when the disk is full: a blocked writer would be worse."""
        with source:
            while chunk := source.read1(min(_CHUNK, self._half)):  # type: ignore[attr-defined]
                try:
                    self._append(chunk)
                except OSError:
                    continue

    @property
    def size(self) -> int:
        """Bytes of the kept output."""
        return sum(path.stat().st_size for path in (self._older, self._path) if path.exists())

    def read(self) -> Iterator[bytes]:
        """The kept output, oldest first."""
        for path in (self._older, self._path):
            if path.exists():
                yield path.read_bytes()

    def _append(self, chunk: bytes) -> None:
        if self._path.exists() and self._path.stat().st_size + len(chunk) > self._half:
            self._path.replace(self._older)
        with self._path.open("ab") as file:
            file.write(chunk)


logger = logging.getLogger(__name__)

_SHARE_BYTES = 1024**2


class LiveLog:
    """A thread that publishes the log every `interval` seconds, and less often the longer it is: the whole of it is
    written anew each time. The log as it is at the end is published with the attempt's other files.
    """

    def __init__(self, engine: Engine, storage: Storage, lease: Lease, log: LogFile, *, interval: float) -> None:
        self._engine = engine
        self._storage = storage
        self._lease = lease
        self._log = log
        self._interval = interval
        self._recorded = -1
        self._ended = Event()
        self._thread = Thread(target=self._publish, name="live log", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _publish(self) -> None:
        while not self._ended.wait(self._interval * max(1.0, self._recorded / _SHARE_BYTES)):
            if self._log.size in (0, self._recorded):
                continue
            try:
                self._publish_now()
            except LeaseLost:
                return
            except (ServiceError, OSError, *DATABASE_AWAY) as error:
                # The next one may get through, and nothing depends on it.
                logger.warning("the log of job %s is late: %s", self._lease.job_id, type(error).__name__)

    def _publish_now(self) -> None:
        file = publish_log(self._storage, self._lease, self._log)
        try:
            with session_scope(self._engine) as session:
                job = leases.fence(session, self._lease)
                replaced = artifacts.record(session, job, [file])
                # Whoever polls the job is to see that there is more to read.
                flag_modified(job, "told")
        except LeaseLost:
            # What the record names already stays until the next attempt's log takes its place.
            if self._recorded < 0:
                delete_objects(self._storage, [file.key])
            raise
        self._recorded = file.size
        delete_objects(self._storage, replaced)
