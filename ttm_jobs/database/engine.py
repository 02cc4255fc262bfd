"""The engine, and the only place that commits."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy import create_engine as _create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError
from sqlalchemy.orm import Session

from ttm_jobs.settings import SQLITE, database_address

_READS = "ttm_reads"

_IDLE_TRANSACTION_MS = 10_000
_TRANSACTION_MS = 30_000
_HAS_TRANSACTION_TIMEOUT = 170_000  # the version of PostgreSQL

# What is raised while the database cannot be reached or is too busy: the same call may pass later.
DATABASE_AWAY = (OperationalError, InterfaceError, TimeoutError)


def create_engine(url: str) -> Engine:
    """An engine for SQLite or PostgreSQL, with the settings each needs here. Connects to nothing yet."""
    parsed = make_url(database_address(url))
    if parsed.drivername != SQLITE:
        engine = _create_engine(
            parsed,
            # A connection that died with the server is replaced before a request meets it.
            pool_pre_ping=True,
            pool_size=20,
            max_overflow=20,
            pool_timeout=5,
            connect_args={
                "application_name": "ttm",
                # A server that hangs is noticed within seconds, well inside a lease.
                "connect_timeout": 5,
                "tcp_user_timeout": 10_000,
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 2,
                # A worker frozen within a transaction would keep the lock of its job, which nobody could take then.
                "options": f"-c idle_in_transaction_session_timeout={_IDLE_TRANSACTION_MS}",
            },
        )
        event.listen(engine, "connect", _bound_transactions)
        return engine
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = _create_engine(parsed, pool_size=20, max_overflow=20, pool_timeout=5)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _bound_transactions(connection: Any, record: Any) -> None:
    """A network cut in the middle of what a worker sends leaves a transaction that PostgreSQL does not count as idle,
    and its locks; every transaction of ours is short.
    """
    if connection.info.server_version >= _HAS_TRANSACTION_TIMEOUT:
        connection.execute(f"SET transaction_timeout = {_TRANSACTION_MS}")
        connection.commit()


def _set_up_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    # The driver begins nothing of itself: _begin_sqlite does.
    connection.isolation_level = None
    # Readers and the one writer do not wait for each other; a second writer waits its turn.
    connection.execute("PRAGMA busy_timeout = 15000")
    connection.execute("PRAGMA journal_mode = WAL")
    # In WAL mode NORMAL keeps the file whole at a power cut, but may lose the last commits; a job answered with 201
    # is not to be lost.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that reads first and writes later fails with "database is locked" beside another writer.
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextmanager
def session_scope(engine: Engine) -> Iterator[Session]:
    """A transaction that may write: committed when the block ends, rolled back when it raises."""
    with _named_disconnect(), Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def read_scope(engine: Engine) -> Iterator[Session]:
    """A transaction that only reads; PostgreSQL refuses a write in it."""
    with (
        _named_disconnect(),
        Session(engine.execution_options(**{_READS: True, "postgresql_readonly": True})) as session,
    ):
        yield session


@contextmanager
def _named_disconnect() -> Iterator[None]:
    """A connection that the server ended is one of DATABASE_AWAY, whatever the server called its reason."""
    try:
        yield
    except DBAPIError as error:
        if error.connection_invalidated and not isinstance(error, DATABASE_AWAY):
            raise OperationalError(error.statement, error.params, error.orig or error) from error
        raise
