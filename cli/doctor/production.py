"""The additional checks of `ttm doctor --production`."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cli.doctor.checks import Check, Status, read_settings
from ttm_jobs.uris import is_loopback

if TYPE_CHECKING:
    from ttm_jobs.repositories.service_stats import ServiceStats
    from ttm_jobs.settings import Settings

_ENOUGH_DISK = 20 * 1024**3
_SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


def production_checks() -> Iterator[Check]:
    """Yields the checks. Each is only a warning, because an operator may have reasons."""
    settings = read_settings()
    postgresql = settings.database_url.startswith("postgresql")
    yield expect(
        "production database",
        postgresql,
        "PostgreSQL" if postgresql else "SQLite",
        "SQLite supports one machine. Set TTM_DATABASE_URL to PostgreSQL.",
    )
    if postgresql:
        yield _warned("production durability", lambda: _durability(settings), "Committed transactions must be on disk.")
        yield _warned(
            "production connections",
            lambda: _connections(settings),
            "Raise max_connections, or put PgBouncer before PostgreSQL: docs/scale.md.",
        )
    yield expect(
        "production storage",
        not settings.storage_url.startswith("file:"),
        settings.storage_url.partition(":")[0],
        "Other machines cannot reach a local folder. Set TTM_STORAGE_URL to a bucket, such as s3://BUCKET.",
    )
    broker = urlsplit(settings.broker_url)
    yield expect(
        "production broker",
        not is_loopback(broker.hostname or "localhost"),
        broker.hostname or "none",
        "Workers on other machines cannot reach a broker on loopback. Set TTM_BROKER_URL.",
    )
    yield expect(
        "production broker password",
        bool(broker.password),
        "set" if broker.password else "none",
        "Anyone who reaches the broker can add and delete messages: set a password.",
    )
    if broker.scheme in ("redis", "rediss"):
        yield _warned(
            "production broker memory",
            lambda: _broker_settings(settings),
            "Set maxmemory-policy to noeviction and appendonly to yes.",
        )
    yield expect(
        "production address",
        not is_loopback(settings.host),
        settings.host,
        "The API listens only on loopback: set TTM_HOST, create a key with `ttm keys create`, and use a TLS proxy.",
    )
    yield _warned("production keys", lambda: _keys(settings), "Create one: ttm keys create --scope admin.")
    yield expect(
        "production secrets",
        settings.secret_key_file is not None,
        "encrypted" if settings.secret_key_file is not None else "plain text",
        "Set TTM_SECRET_KEY_FILE, then run `ttm secrets rotate`: docs/how-to/run-in-production.md.",
    )
    yield _warned(
        "production processes", lambda: _processes(settings), "Start what is missing: docs/how-to/run-in-production.md."
    )
    yield expect(
        "production metrics",
        settings.metrics_token is not None,
        "a token" if settings.metrics_token is not None else "no token",
        "Set TTM_METRICS_TOKEN for Prometheus: docs/how-to/observe.md.",
    )
    free = _free(settings.work_dir)
    yield expect(
        "production disk",
        free >= _ENOUGH_DISK,
        f"{free / 1024**3:.0f} GiB free under {settings.work_dir}",
        "Unpacked datasets and teacher stores are there: set TTM_WORK_DIR to a larger disk.",
    )
    yield expect(
        "production user",
        os.geteuid() != 0,
        "root" if os.geteuid() == 0 else "not root",
        "Run the API and the workers as an unprivileged user.",
    )


def expect(name: str, holds: bool, found: str, advice: str) -> Check:
    """A check that is OK if `holds`, else a warning."""
    return Check(name, Status.OK, found) if holds else Check(name, Status.WARNING, found, advice)


def _warned(name: str, look: Callable[[], tuple[bool, str]], advice: str) -> Check:
    try:
        return expect(name, *look(), advice)
    except Exception as error:
        # Another check reports that the component is unavailable.
        return Check(name, Status.WARNING, f"could not be checked: {type(error).__name__}", advice)


def _durability(settings: "Settings") -> tuple[bool, str]:
    found = {name: _show(settings, name) for name in _SAFE}
    return found == _SAFE, ", ".join(f"{name} {value}" for name, value in found.items())


def _connections(settings: "Settings") -> tuple[bool, str]:
    most = int(_show(settings, "max_connections"))
    stats = _service_stats(settings)
    workers = sum(queue.workers for queue in stats.queues.values())
    # A worker opens up to 4 connections, an API process up to 40.
    needed = 4 * workers + 40
    return needed <= most, f"max_connections {most}; {workers} workers and an API may take {needed}"


def _show(settings: "Settings", name: str) -> str:
    from sqlalchemy import text

    from ttm_jobs.database.engine import create_engine

    engine = create_engine(settings.database_url)
    try:
        with engine.connect() as connection:
            return str(connection.execute(text(f"SHOW {name}")).scalar_one())
    finally:
        engine.dispose()


def _broker_settings(settings: "Settings") -> tuple[bool, str]:
    from ttm_jobs.broker import connection

    policy, log = (connection.setting(settings.broker_url, name) for name in ("maxmemory-policy", "appendonly"))
    return (policy, log) == ("noeviction", "yes"), f"maxmemory-policy {policy}, appendonly {log}"


def _keys(settings: "Settings") -> tuple[bool, str]:
    from ttm_jobs.database.engine import create_engine, read_scope
    from ttm_jobs.repositories.access import keys

    engine = create_engine(settings.database_url)
    try:
        with read_scope(engine) as session:
            exists = keys.any_valid(session)
    finally:
        engine.dispose()
    return exists, "present" if exists else "none"


def _processes(settings: "Settings") -> tuple[bool, str]:
    stats = _service_stats(settings)
    served = {name: queue.workers for name, queue in stats.queues.items() if queue.workers}
    unserved = [name for name in settings.queues if name not in served]
    found = f"dispatchers: {stats.dispatchers}; " + ", ".join(
        f"queue {name}: {served.get(name, 0)} workers" for name in sorted({*settings.queues, *served})
    )
    return stats.dispatchers > 0 and not unserved, found


def _service_stats(settings: "Settings") -> "ServiceStats":
    from ttm_jobs.database.engine import create_engine, read_scope
    from ttm_jobs.repositories import service_stats

    engine = create_engine(settings.database_url)
    try:
        with read_scope(engine) as session:
            return service_stats.collect(session, seen_within=timedelta(seconds=settings.worker_timeout_seconds))
    finally:
        engine.dispose()


def _free(folder: Path) -> int:
    # The first worker creates the folder.
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free
