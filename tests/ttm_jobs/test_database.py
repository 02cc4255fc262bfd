import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Event, Timer

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import InternalError, OperationalError, StatementError

from tests.support.factories import job_of, queued
from tests.support.servers import PostgresServer
from ttm_jobs.database import engine as engine_module
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, create_engine, describe_error, read_scope, session_scope
from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs.transitions import locked

MILLISECOND = timedelta(milliseconds=1)


def test_failed_transaction_changes_nothing(engine: Engine) -> None:
    job_id = queued(engine)

    def change_and_raise() -> None:
        with session_scope(engine) as session:
            session.get_one(Job, job_id).name = "changed"
            session.flush()
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        change_and_raise()
    assert job_of(engine, job_id).name == "a job"


def test_first_connections_to_a_new_sqlite_file_wait_for_each_other(tmp_path: Path) -> None:
    """The switch to WAL needs the file alone; SQLite itself does not wait for it."""
    path = tmp_path / "new.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE example (id INTEGER)")
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO example VALUES (1)")
    commit = Timer(0.3, other.execute, ["COMMIT"])
    commit.start()
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("SELECT count(*) FROM example").scalar_one() == 1
    commit.join()
    engine.dispose()
    other.close()


def test_concurrent_writers_wait_for_each_other(engine: Engine) -> None:
    job_id = queued(engine)

    def count_up(_: int) -> None:
        with session_scope(engine) as session:
            job = session.get_one(Job, job_id, with_for_update=True)
            # A read followed by a write fails in SQLite's deferred transactions.
            session.execute(select(Job.state)).all()
            job.priority += 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_up, range(100)))
    assert job_of(engine, job_id).priority == 105


def test_reader_does_not_wait_for_a_writer(engine: Engine) -> None:
    job_id = queued(engine)
    with session_scope(engine) as writer:
        writer.get_one(Job, job_id).name = "not yet"
        writer.flush()
        assert job_of(engine, job_id).name == "a job"


def test_read_only_transaction_refuses_writes(postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    job_id = queued(engine)
    with read_scope(engine) as session:
        session.get_one(Job, job_id).name = "changed"
        with pytest.raises(InternalError, match="read-only"):
            session.flush()
    # The pooled connection can write again.
    queued(engine)
    engine.dispose()


def test_now_is_the_database_time_in_utc_and_advances_within_a_transaction(engine: Engine) -> None:
    with session_scope(engine) as session:
        before, first, after = datetime.now(UTC), now(session), datetime.now(UTC)
        assert first.tzinfo == UTC
        # The database rounds to milliseconds or microseconds.
        assert before - MILLISECOND <= first <= after + MILLISECOND
        while (later := now(session)) == first:
            pass
        assert later > first


def test_times_keep_their_value_and_order(engine: Engine) -> None:
    job_id = queued(engine)
    with session_scope(engine) as session:
        job = session.get_one(Job, job_id)
        created = job.created_at
        # A cursor compares against the exact value that was read.
        assert session.scalar(select(Job.id).where(Job.created_at == created)) == job_id
        job.not_before = datetime(2030, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert job_of(engine, job_id).not_before == datetime(2030, 1, 1, tzinfo=UTC)


def test_naive_time_is_rejected(engine: Engine) -> None:
    job_id = queued(engine)
    with read_scope(engine) as session:
        session.get_one(Job, job_id).not_before = datetime(2030, 1, 1)
        with pytest.raises(StatementError, match="naive"):
            session.flush()


def test_sqlite_settings(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    with engine.connect() as connection:
        values = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        }
    assert values == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 15_000, "synchronous": 2}
    engine.dispose()


def with_timeout(url: str, name: str, milliseconds: int) -> Engine:
    """An engine whose first connection, already open, has the short timeout; the others keep the usual one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, name, milliseconds)
        short = create_engine(url)
        with short.connect():
            pass
    return short


def test_idle_transaction_loses_its_locks(postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    short = with_timeout(postgresql_url, "_IDLE_TRANSACTION_MS", 2000)
    job_id = queued(engine)

    has_lock, resume = Event(), Event()

    def freeze() -> None:
        with session_scope(short) as session:
            locked(session, job_id)
            has_lock.set()
            resume.wait(60)
            now(session)

    with ThreadPoolExecutor(1) as pool:
        frozen = pool.submit(freeze)
        assert has_lock.wait(60)
        with session_scope(engine) as session:
            # Waits for the lock until the server ends the frozen transaction.
            assert locked(session, job_id).id == job_id
            assert not frozen.done()
        resume.set()
        with pytest.raises(DATABASE_UNAVAILABLE):
            frozen.result()
    short.dispose()
    engine.dispose()


def test_overlong_transaction_loses_its_locks(postgresql_url: str) -> None:
    """A partially received statement counts as active on the server, as does this one, so the idle timeout does not apply."""
    engine = create_engine(postgresql_url)
    short = with_timeout(postgresql_url, "_TRANSACTION_MS", 3000)
    job_id = queued(engine)

    has_lock = Event()

    def run_long_statement() -> None:
        with session_scope(short) as session:
            locked(session, job_id)
            has_lock.set()
            session.execute(text("SELECT pg_sleep(100)"))

    with ThreadPoolExecutor(1) as pool:
        cut = pool.submit(run_long_statement)
        assert has_lock.wait(60)
        with session_scope(engine) as session:
            assert locked(session, job_id).id == job_id
        with pytest.raises(DATABASE_UNAVAILABLE):
            cut.result(timeout=600)
    short.dispose()
    engine.dispose()


def test_the_default_isolation_of_the_database_does_not_matter(postgresql_url: str) -> None:
    setter = create_engine(postgresql_url)
    with setter.begin() as connection:
        connection.execute(
            text(f"ALTER DATABASE \"{setter.url.database}\" SET default_transaction_isolation = 'serializable'")
        )
    setter.dispose()
    engine = create_engine(postgresql_url)
    for scope in (session_scope, read_scope):
        with scope(engine) as session:
            assert session.scalar(text("SHOW transaction_isolation")) == "read committed"
    engine.dispose()


def test_the_log_says_why_the_database_is_unavailable(postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    with session_scope(engine) as session:
        session.execute(text("SET LOCAL statement_timeout = 10"))
        with pytest.raises(OperationalError) as failed:
            session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": 1234})
        session.rollback()
    engine.dispose()
    assert describe_error(failed.value) == "QueryCanceled: canceling statement due to statement timeout"
    unreachable = create_engine("postgresql+psycopg://nobody:secret@127.0.0.1:1/none")
    with pytest.raises(OperationalError) as failed:
        unreachable.connect()
    assert "Connection refused" in describe_error(failed.value)
    assert "secret" not in describe_error(failed.value)
    assert describe_error(TimeoutError()) == "TimeoutError"


def test_a_locked_table_counts_as_an_outage(postgresql_url: str) -> None:
    engine, short = create_engine(postgresql_url), with_timeout(postgresql_url, "_LOCK_MS", 300)
    job_id = queued(engine)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(DATABASE_UNAVAILABLE), read_scope(short) as session:
            session.get(Job, job_id)
    with read_scope(short) as session:
        assert session.get(Job, job_id) is not None
    short.dispose()
    engine.dispose()


def test_connection_pool_survives_a_server_restart(postgres: PostgresServer, postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    job_id = queued(engine)
    postgres.stop()
    postgres.start()
    assert job_of(engine, job_id).id == job_id
    engine.dispose()


def test_a_postgresql_server_that_refuses_writes_is_unavailable(postgresql_url: str) -> None:
    """As a standby does to which a failover has left connections."""
    engine = create_engine(postgresql_url)
    job_id = queued(engine)
    name = engine.url.database

    def rename() -> None:
        with session_scope(engine) as session:
            locked(session, job_id).name = "changed"

    def set_read_only(value: str) -> None:
        with session_scope(engine) as session:
            session.execute(text("SET TRANSACTION READ WRITE"))
            session.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}'))
        engine.dispose()

    set_read_only("on")
    for _ in range(2):
        with pytest.raises(DATABASE_UNAVAILABLE):
            rename()
    assert job_of(engine, job_id).name == "a job", "reads continue"
    set_read_only("off")
    rename()
    assert job_of(engine, job_id).name == "changed"
    engine.dispose()
