"""The SQLAlchemy engine, and the transaction scopes: the only places that commit."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy import create_engine as _create_engine
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError
from sqlalchemy.orm import Session
from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from ttm_jobs.database.bound_values import check_bound_values
from ttm_jobs.database.sealing import SecretBox
from ttm_jobs.settings import SQLITE, Limits, database_address

# The execution option with the limits of projects that have none of their own.
DEFAULT_LIMITS = "ttm_default_limits"
_READS = "ttm_reads"

_LOCK_MS = 15_000
_IDLE_TRANSACTION_MS = 10_000
_TRANSACTION_MS = 30_000
_HAS_TRANSACTION_TIMEOUT = 170_000  # PostgreSQL version
_LONGEST_MESSAGE = 500
_READ_ONLY = "25006"  # PostgreSQL error code

# Errors of an unreachable or overloaded database: the same call may succeed later.
DATABASE_UNAVAILABLE = (OperationalError, InterfaceError, TimeoutError)


def describe_error(error: Exception) -> str:
    """The type and the driver's message on one line, for the log, without the SQL statement and its values."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    message = " ".join(str(cause).split())[:_LONGEST_MESSAGE]
    return f"{type(cause).__name__}: {message}" if message else type(cause).__name__


def create_engine(url: str, secret_key_file: Path | None = None, default_limits: Limits | None = None) -> Engine:
    """Creates an engine for SQLite or PostgreSQL with our settings, without connecting. Secrets in the database are
    encrypted with the keys of `secret_key_file`. Quotas apply `default_limits` to projects without limits of their own.
    """
    engine = _engine_of(make_url(database_address(url)))
    engine.dialect.secret_box = SecretBox(secret_key_file)  # type: ignore[attr-defined]
    check_bound_values(engine)
    engine.update_execution_options(**{DEFAULT_LIMITS: default_limits or Limits()})
    return engine


def _engine_of(parsed: URL) -> Engine:
    if parsed.drivername != SQLITE:
        engine = _create_engine(
            parsed,
            # Replaces dead connections before use.
            pool_pre_ping=True,
            pool_size=20,
            max_overflow=20,
            pool_timeout=5,
            # Whatever the database's default is: at other levels, concurrent transactions fail instead of waiting.
            isolation_level="READ COMMITTED",
            connect_args={
                "application_name": "ttm",
                # Detects a hanging server within seconds, well within a lease.
                "connect_timeout": 5,
                "tcp_user_timeout": 10_000,
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 2,
                # A worker frozen in a transaction would otherwise hold its job's row lock, and requests would wait for
                # a table that is locked, as by a migration, without a bound.
                "options": f"-c idle_in_transaction_session_timeout={_IDLE_TRANSACTION_MS} -c lock_timeout={_LOCK_MS}",
            },
        )
        event.listen(engine, "connect", _limit_transactions)
        event.listen(engine, "handle_error", _disconnect_from_read_only)
        return engine
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = _create_engine(parsed, pool_size=20, max_overflow=20, pool_timeout=5)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _limit_transactions(connection: Any, record: Any) -> None:
    """Limits the duration of transactions, which are all short.

    PostgreSQL does not count a transaction as idle after the network broke in the middle of a statement, so
    idle_in_transaction_session_timeout does not release its locks.
    """
    if connection.info.server_version >= _HAS_TRANSACTION_TIMEOUT:
        connection.execute(f"SET transaction_timeout = {_TRANSACTION_MS}")
        connection.commit()


def _disconnect_from_read_only(context: ExceptionContext) -> None:
    # After a failover, the server may be a standby, and new connections lead to the new primary.
    reads = context.connection is not None and context.connection.get_execution_options().get(_READS, False)
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY and not reads:
        context.is_disconnect = True


def _set_up_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    # _begin_sqlite starts transactions, not the driver.
    connection.isolation_level = None
    # Readers do not block; a second writer waits up to 15 s.
    connection.execute(f"PRAGMA busy_timeout = {_LOCK_MS}")
    _use_wal(connection)
    # In WAL mode, NORMAL may lose the last commits in a power failure. A job answered with 201 must not be lost.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY


# SQLite does not apply busy_timeout here: of several processes that open a new database, all but one fail.
@retry(
    retry=retry_if_exception(_is_busy),
    wait=wait_random(0.01, 0.1),
    stop=stop_after_delay(_LOCK_MS / 1000),
    reraise=True,
)
def _use_wal(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that reads, then writes, fails with "database is locked" when another writer is active.
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def refresh_statistics(engine: Engine) -> None:
    """Updates the statistics of SQLite's query planner where tables have changed much. PostgreSQL does so by itself.

    Without statistics, SQLite reads a whole project to find a few jobs by name.
    """
    if engine.dialect.name == "sqlite":
        with engine.begin() as connection:
            # Samples at most this many rows of an index. 0x10002 includes tables that this connection has not read.
            connection.exec_driver_sql("PRAGMA analysis_limit = 1000")
            connection.exec_driver_sql("PRAGMA optimize = 0x10002")


@contextmanager
def session_scope(engine: Engine) -> Iterator[Session]:
    """A read-write transaction: committed at the end of the block, rolled back on an exception."""
    with _disconnects_as_operational(), Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def read_scope(engine: Engine) -> Iterator[Session]:
    """A read-only transaction; PostgreSQL enforces it."""
    with (
        _disconnects_as_operational(),
        Session(engine.execution_options(**{_READS: True, "postgresql_readonly": True})) as session,
    ):
        yield session


@contextmanager
def _disconnects_as_operational() -> Iterator[None]:
    """Raises OperationalError for every connection that the server closed, so that DATABASE_UNAVAILABLE covers it."""
    try:
        yield
    except DBAPIError as error:
        if error.connection_invalidated and not isinstance(error, DATABASE_UNAVAILABLE):
            raise OperationalError(error.statement, error.params, error.orig or error) from error
        raise
