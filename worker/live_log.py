"""The trainer's output while it runs: put into storage now and then, so that people can read along."""

import logging
from threading import Event, Thread
from types import TracebackType
from typing import Self

from sqlalchemy import Engine
from sqlalchemy.orm.attributes import flag_modified

from ttm_jobs.database import DATABASE_AWAY, session_scope
from ttm_jobs.errors import LeaseLost, ServiceError
from ttm_jobs.repositories import artifacts, leases
from ttm_jobs.repositories.leases import Lease
from ttm_jobs.storage import Storage
from worker.log_file import LogFile
from worker.publish import delete_objects, publish_log

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
