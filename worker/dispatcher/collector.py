"""Expires old data and deletes unreferenced objects. Any number of processes may do this concurrently."""

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from threading import Event as Flag
from typing import Literal

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, describe_error, read_scope, refresh_statistics, session_scope
from ttm_jobs.errors import ServiceError
from ttm_jobs.repositories import uploads
from ttm_jobs.repositories.access import audit, sign_in_sessions
from ttm_jobs.repositories.cleanup import objects, retention
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage
from worker import metrics
from worker.run.publish import delete_objects

logger = logging.getLogger(__name__)

_Kind = retention.Kind | Literal["uploads", "audit"]
_BATCH = 500
# Minimum age of partial objects: no row says whether their writer is alive.
_MIN_PARTIAL_AGE = timedelta(hours=1)


class Collector:
    """Deletes objects that killed workers and uploads left behind."""

    def __init__(self, settings: Settings, engine: Engine, storage: Storage) -> None:
        self._engine = engine
        self._storage = storage
        self._interval = settings.collect_interval_seconds
        self._after = timedelta(seconds=settings.collect_min_age_seconds)
        self._retention_days: dict[_Kind, float | None] = {
            "artifacts": settings.artifacts_retention_days,
            "logs": settings.logs_retention_days,
            "checkpoints": settings.checkpoints_retention_days,
            "events": settings.events_retention_days,
            "metrics": settings.metrics_retention_days,
            "audit": settings.audit_retention_days,
            "uploads": settings.uploads_retention_days,
        }

    def collect(self) -> int:
        """Deletes unreferenced and partial objects. Returns their number."""
        self.expire()
        refresh_statistics(self._engine)
        with session_scope(self._engine) as session:
            objects.delete_incomplete_uploads(session, after=self._after)
        removed = self._storage.sweep(max(self._after, _MIN_PARTIAL_AGE))
        for keys in _batches(self._storage.list()):
            # Queried after listing the objects: an object that is recorded meanwhile is kept.
            with read_scope(self._engine) as session:
                orphans = objects.unreferenced(session, keys, after=self._after)
            delete_objects(self._storage, sorted(orphans))
            removed += len(orphans)
        metrics.COLLECTED.inc(removed)
        if removed:
            logger.info("deleted %d unreferenced objects", removed)
        return removed

    def expire(self) -> None:
        """Deletes rows and uploads past their retention, a few jobs per transaction, and expired sessions."""
        while True:
            with session_scope(self._engine) as session:
                if not sign_in_sessions.delete_expired(session):
                    break
        for kind, days in self._retention_days.items():
            while days is not None:
                with session_scope(self._engine) as session:
                    removed = _expire(session, kind, timedelta(days=days))
                metrics.EXPIRED.labels(kind).inc(removed)
                if not removed:
                    break

    def serve(self, stop: Flag) -> None:
        """Runs until `stop` is set. Failures are retried in the next round."""
        while not stop.wait(self._interval):
            try:
                self.collect()
            except (*DATABASE_UNAVAILABLE, ServiceError, OSError) as error:
                logger.warning("collection failed: %s", describe_error(error))


def _expire(session: Session, kind: _Kind, age: timedelta) -> int:
    if kind == "uploads":
        return uploads.delete_unused(session, unused_for=age)
    if kind == "audit":
        return audit.expire(session, older_than=age)
    return retention.expire(session, kind, ended_for=age)


def _batches(keys: Iterator[str]) -> Iterator[Sequence[str]]:
    while batch := list(islice(keys, _BATCH)):
        yield batch
