"""Forgets what the settings do not keep, and removes from the storage what no row names. Any number of processes may do
it at once.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from threading import Event as Flag
from typing import Literal

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, read_scope, session_scope
from ttm_jobs.errors import ServiceError
from ttm_jobs.repositories import uploads
from ttm_jobs.repositories.cleanup import objects, retention
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage
from worker import metrics
from worker.run.publish import delete_objects

logger = logging.getLogger(__name__)

_Kind = retention.Kind | Literal["uploads"]
_BATCH = 500
# No row tells whether the writer of a half-written object is alive: only its silence does, however short the safe age.
_SILENCE = timedelta(hours=1)


class Collector:
    """Finds what workers and uploads that were killed left behind, and what could not be deleted in its time."""

    def __init__(self, settings: Settings, engine: Engine, storage: Storage) -> None:
        self._engine = engine
        self._storage = storage
        self._interval = settings.collect_interval_seconds
        self._after = timedelta(seconds=settings.collect_min_age_seconds)
        self._kept_days: dict[_Kind, float | None] = {
            "artifacts": settings.artifacts_retention_days,
            "logs": settings.logs_retention_days,
            "checkpoints": settings.checkpoints_retention_days,
            "events": settings.events_retention_days,
            "metrics": settings.metrics_retention_days,
            "uploads": settings.uploads_retention_days,
        }

    def collect(self) -> int:
        """Removes what is abandoned, whole or half written. Returns how many objects that were."""
        self.retire()
        with session_scope(self._engine) as session:
            objects.delete_incomplete_uploads(session, after=self._after)
        removed = self._storage.sweep(max(self._after, _SILENCE))
        for keys in _batches(self._storage.list()):
            # Asked after the objects were seen: one that is named now, or may be, was not there for nothing.
            with read_scope(self._engine) as session:
                abandoned = objects.unreferenced(session, keys, after=self._after)
            delete_objects(self._storage, sorted(abandoned))
            removed += len(abandoned)
        metrics.COLLECTED.inc(removed)
        if removed:
            logger.info("removed %d objects that no row names", removed)
        return removed

    def retire(self) -> None:
        """Forgets rows of jobs that ended longer ago than the settings keep them, a few jobs a transaction, and uploads
        that nobody has used for as long.
        """
        for kind, days in self._kept_days.items():
            while days is not None:
                with session_scope(self._engine) as session:
                    removed = _forget(session, kind, timedelta(days=days))
                metrics.RETIRED.labels(kind).inc(removed)
                if not removed:
                    break

    def serve(self, stop: Flag) -> None:
        """Over and over, until `stop` is set. What cannot be reached now is looked at the next time."""
        while not stop.wait(self._interval):
            try:
                self.collect()
            except (*DATABASE_UNAVAILABLE, ServiceError, OSError) as error:
                logger.warning("could not collect: %s: %s", type(error).__name__, error)


def _forget(session: Session, kind: _Kind, kept: timedelta) -> int:
    if kind == "uploads":
        return uploads.delete_unused(session, unused_for=kept)
    return retention.expire(session, kind, ended_for=kept)


def _batches(keys: Iterator[str]) -> Iterator[Sequence[str]]:
    while batch := list(islice(keys, _BATCH)):
        yield batch
