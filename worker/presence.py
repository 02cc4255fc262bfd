"""Registration of a process in the database."""

import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from sqlalchemy import Engine

from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, describe_error, session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.workers import Kind
from worker.background import BackgroundThread

logger = logging.getLogger(__name__)


class Presence(BackgroundThread):
    """Renews the process's row in `workers` until it stops. Tolerates an unavailable database."""

    def __init__(
        self,
        engine: Engine,
        kind: Kind,
        *,
        interval: float,
        devices: Sequence[Any] = (),
        queues: Sequence[str] = (),
        architectures: Mapping[str, Any] | None = None,
        also: Callable[[], None] = lambda: None,
    ) -> None:
        """`also` is called after every renewal."""
        super().__init__("presence", retry_seconds=interval)
        self.id = new_id()
        self._engine = engine
        self._kind = kind
        self._interval = interval
        self._devices = devices
        self._also = also
        self._queues = queues
        self._architectures = architectures
        self._job_id: str | None = None
        self._error: str | None = None

    def set_job(self, job_id: str | None) -> None:
        """Sets the current job and renews the row."""
        self._job_id = job_id
        self._renew()

    def set_error(self, error: str | None) -> None:
        """Sets the error of the last claim or attempt, and renews the row if it has changed."""
        if error != self._error:
            self._error = error
            self._renew()

    def _renew(self) -> None:
        """Renews the row. An error is logged: the job does not depend on the row."""
        try:
            self._register()
        except Exception:
            logger.exception("could not register with the database")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        try:
            with session_scope(self._engine) as session:
                workers.remove(session, self.id)
        except Exception as error:
            logger.warning("the row of this process could not be removed and will expire: %s", type(error).__name__)

    def _run(self) -> None:
        self._register()
        while not self._ended.wait(self._interval):
            self._register()

    def _register(self) -> None:
        try:
            with session_scope(self._engine) as session:
                workers.register(
                    session,
                    self.id,
                    kind=self._kind,
                    hostname=socket.gethostname(),
                    pid=os.getpid(),
                    devices=self._devices,
                    job_id=self._job_id,
                    error=self._error,
                    queues=self._queues,
                    architectures=self._architectures,
                )
        except DATABASE_UNAVAILABLE as error:
            logger.warning("could not register with the database: %s", describe_error(error))
        self._also()
