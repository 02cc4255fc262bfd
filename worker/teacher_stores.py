"""Tells the record which teachers' logits lie on this machine, and which of them a trainer has open."""

import logging
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from sqlalchemy import Engine

from ttm_core.teacher_store.listing import DescribedStore, describe_stores
from ttm_jobs.database import DATABASE_AWAY, session_scope
from ttm_jobs.repositories import teacher_stores
from ttm_jobs.repositories.teacher_stores import Found

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
                teacher_stores.tell(session, socket.gethostname(), str(self._root)[-512:], [_row(one) for one in found])
        except DATABASE_AWAY as error:
            logger.warning("could not tell of teacher stores: %s", type(error).__name__)
        else:
            self._told, self._again_at = found, time.monotonic() + _AGAIN_SECONDS


def opened_by(pid: int, root: Path) -> Sequence[str]:
    """The digests of the stores under a folder that a process, or one that it started, has open."""
    found: set[str] = set()
    # It may end while we look.
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                paths = (Path(file.path) for file in each.open_files())
                found |= {path.relative_to(root).parts[0] for path in paths if path.is_relative_to(root)}
    return sorted(digest for digest in found if (root / digest / "key.json").exists())


def _row(store: DescribedStore) -> Found:
    used_at = datetime.fromtimestamp(store.used_at, UTC)
    return Found(store.digest, store.encoding, store.bytes, store.rows, used_at)
