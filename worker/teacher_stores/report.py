"""Reports the teacher stores on this machine to the database."""

import logging
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from ttm_core.teacher_store.listing import DescribedStore, describe_stores
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, describe_error, session_scope
from ttm_jobs.repositories.run_data import teacher_stores
from ttm_jobs.repositories.run_data.teacher_stores import LocalStore

logger = logging.getLogger(__name__)

# Unchanged stores are reported again at this interval.
_REPEAT_SECONDS = 300.0


def folder(work_dir: Path) -> Path:
    """The folder of teacher stores in a work directory."""
    return (work_dir / "teacher-stores").resolve()


class StoreReport:
    """Reports the stores of one folder when they change."""

    def __init__(self, engine: Engine, work_dir: Path) -> None:
        self._engine = engine
        self._root = folder(work_dir)
        self._reported: list[DescribedStore] | None = None
        self._repeat_at = 0.0

    def send(self) -> None:
        """Reports changes. If the database is unavailable, the next call reports them."""
        found = describe_stores(self._root)
        if found == self._reported and time.monotonic() < self._repeat_at:
            return
        try:
            with session_scope(self._engine) as session:
                teacher_stores.report(
                    session, socket.gethostname(), str(self._root)[-512:], [_row(one) for one in found]
                )
        except DATABASE_UNAVAILABLE as error:
            logger.warning("could not report teacher stores: %s", describe_error(error))
        else:
            self._reported, self._repeat_at = found, time.monotonic() + _REPEAT_SECONDS


def _row(store: DescribedStore) -> LocalStore:
    used_at = datetime.fromtimestamp(store.used_at, UTC)
    return LocalStore(store.digest, store.encoding, store.bytes, store.rows, used_at)
