"""Tells the record which teachers' logits lie on this machine."""

import logging
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from ttm_core.teacher_store.listing import DescribedStore, describe_stores
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, session_scope
from ttm_jobs.repositories.run_data import teacher_stores
from ttm_jobs.repositories.run_data.teacher_stores import LocalStore

logger = logging.getLogger(__name__)

# What has not changed is told again this often, to say that it is still there.
_AGAIN_SECONDS = 300.0


def folder(work_dir: Path) -> Path:
    """Where the trainers of a work directory keep logits."""
    return (work_dir / "teacher-stores").resolve()


class StoreReport:
    """What the record was last told of one folder."""

    def __init__(self, engine: Engine, work_dir: Path) -> None:
        self._engine = engine
        self._root = folder(work_dir)
        self._told: list[DescribedStore] | None = None
        self._again_at = 0.0

    def tell(self) -> None:
        """Tells what has changed; a database that is away is told the next time."""
        found = describe_stores(self._root)
        if found == self._told and time.monotonic() < self._again_at:
            return
        try:
            with session_scope(self._engine) as session:
                teacher_stores.report(
                    session, socket.gethostname(), str(self._root)[-512:], [_row(one) for one in found]
                )
        except DATABASE_UNAVAILABLE as error:
            logger.warning("could not tell of teacher stores: %s", type(error).__name__)
        else:
            self._told, self._again_at = found, time.monotonic() + _AGAIN_SECONDS


def _row(store: DescribedStore) -> LocalStore:
    used_at = datetime.fromtimestamp(store.used_at, UTC)
    return LocalStore(store.digest, store.encoding, store.bytes, store.rows, used_at)
