"""Extends the lease of a run and receives the stop requests in the job's row."""

import logging
import time
from datetime import timedelta

from sqlalchemy import Engine

from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, describe_error, session_scope
from ttm_jobs.errors import LeaseLost
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.states import JobState
from worker import metrics
from worker.background import BackgroundThread

logger = logging.getLogger(__name__)


class Heartbeat(BackgroundThread):
    """A separate thread, so that a long upload or a slow query of the run does not lose the lease."""

    def __init__(self, engine: Engine, lease: Lease, *, duration: float, interval: float) -> None:
        super().__init__("heartbeat")
        self._engine = engine
        self._lease = lease
        self._duration = duration
        self._interval = interval
        # Measured before the request, so that we give up before the lease expires in the database.
        self._confirmed = time.monotonic()
        self.state = JobState.RUNNING
        # The job's deadline has passed.
        self.overdue = False
        # Another worker may have the job: stop writing.
        self.fenced = False

    @property
    def seconds_since_confirmed(self) -> float:
        """Seconds since the lease was last confirmed."""
        return time.monotonic() - self._confirmed

    @property
    def expired(self) -> bool:
        """Whether the database has not confirmed the lease for its whole duration."""
        return self.seconds_since_confirmed > self._duration

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            requested_at = time.monotonic()
            try:
                with session_scope(self._engine) as session:
                    status = leases.heartbeat(session, self._lease, duration=timedelta(seconds=self._duration))
            except LeaseLost:
                metrics.HEARTBEATS.labels("lost").inc()
                self.fenced = True
                return
            except DATABASE_UNAVAILABLE as error:
                metrics.HEARTBEATS.labels("database_unavailable").inc()
                logger.warning("no heartbeat for job %s: %s", self._lease.job_id, describe_error(error))
            else:
                metrics.HEARTBEATS.labels("extended").inc()
                self._confirmed = requested_at
                self.state, self.overdue = status.state, status.overdue
