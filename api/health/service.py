"""Readiness checks: all dependencies in parallel, with a timeout of one second."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import structlog
from anyio import CapacityLimiter, create_task_group, move_on_after, to_thread
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from api.health.schemas import Readiness, Status
from ttm_jobs.broker import connection
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import ServiceError, StorageFull
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.workers import Kind
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage
from ttm_jobs.storage.local import check_space

log = structlog.get_logger()

_SECONDS = 1.0
# Without these, requests fail. Without the others, jobs stay queued.
_ESSENTIAL = frozenset({"database", "storage"})


async def readiness(engine: Engine, storage: Storage, settings: Settings, threads: CapacityLimiter) -> Readiness:
    """The state of each dependency. One that does not respond within a second is unavailable or degraded."""
    probes: dict[str, Callable[[], bool]] = {
        "database": lambda: _database(engine),
        "storage": lambda: _storage(storage),
        "broker": lambda: connection.ping(settings.broker_url, timeout=_SECONDS / 2),
        "dispatcher": lambda: _is_active(engine, "dispatcher", settings),
        "worker": lambda: _is_active(engine, "worker", settings),
    }
    checks: dict[str, Status] = {name: "unavailable" if name in _ESSENTIAL else "degraded" for name in probes}

    async def check(name: str, probe: Callable[[], bool]) -> None:
        if await to_thread.run_sync(probe, abandon_on_cancel=True, limiter=threads):
            checks[name] = "ok"

    with move_on_after(_SECONDS):
        async with create_task_group() as group:
            for name, probe in probes.items():
                group.start_soon(check, name, probe)
    return Readiness(status=_worst(checks), checks=checks)


def _worst(checks: dict[str, Status]) -> Status:
    for status in ("unavailable", "degraded"):
        if status in checks.values():
            return status
    return "ok"


def _database(engine: Engine) -> bool:
    try:
        with read_scope(engine) as session:
            session.execute(text("SELECT id FROM jobs LIMIT 1"))
        # SQLite reads from a full disk, but cannot write. PostgreSQL's disk is on another machine.
        if engine.dialect.name == "sqlite" and engine.url.database:
            check_space(Path(engine.url.database).absolute().parent)
    except (SQLAlchemyError, OSError, StorageFull) as error:
        log.warning("database unavailable", error=str(error))
        return False
    return True


def _storage(storage: Storage) -> bool:
    try:
        storage.check()
    except (OSError, ServiceError) as error:
        log.warning("storage unavailable", error=str(error))
        return False
    return True


def _is_active(engine: Engine, kind: Kind, settings: Settings) -> bool:
    try:
        with read_scope(engine) as session:
            return bool(workers.recent(session, within=timedelta(seconds=settings.worker_timeout_seconds), kind=kind))
    except SQLAlchemyError:
        return False
