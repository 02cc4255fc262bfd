"""Background threads continue after errors that no one expected."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from tests.support.factories import claimed, job_of, queued
from tests.support.rig import MakeRig
from tests.support.tiny import wait_until
from tests.worker.test_live_log import log_of
from ttm_jobs.database.engine import read_scope
from ttm_jobs.models import Worker
from ttm_jobs.storage import build_storage
from worker.background import run_until
from worker.presence import Presence
from worker.run import runner
from worker.run.heartbeat import Heartbeat
from worker.run.publish import LiveLog
from worker.trainer.log import LogFile


@pytest.fixture
def database_url(postgresql_url: str) -> str:
    """PostgreSQL only: SQLite reports a missing table like an outage, after which threads continue anyway."""
    return postgresql_url


@contextmanager
def without_table(engine: Engine, table: str) -> Iterator[None]:
    """Renames a table within the block. PostgreSQL reports a missing table as a ProgrammingError, not as an outage."""
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {table}_renamed"))
    try:
        yield
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE {table}_renamed RENAME TO {table}"))


def failures(caplog: pytest.LogCaptureFixture, name: str) -> int:
    return sum(
        name in record.getMessage() or (record.exc_info is not None and "renamed" in str(record.exc_info[1]))
        for record in caplog.records
    )


def test_heartbeat_extends_the_lease_after_an_unexpected_error(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = queued(engine)
    lease = claimed(engine, job_id)
    before = job_of(engine, job_id).lease_until
    assert before is not None
    with Heartbeat(engine, lease, duration=600, interval=0.05) as heartbeat:
        with without_table(engine, "jobs"):
            wait_until(lambda: failures(caplog, "heartbeat") >= 1)
        wait_until(lambda: (job_of(engine, job_id).lease_until or before) > before + timedelta(seconds=300))
        assert not heartbeat.fenced


def test_presence_is_renewed_after_an_unexpected_error(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    def registered() -> bool:
        with read_scope(engine) as session:
            return session.get(Worker, presence.id) is not None

    with Presence(engine, "worker", interval=0.05) as presence:
        wait_until(registered)
        with without_table(engine, "workers"):
            wait_until(lambda: failures(caplog, "presence") >= 1)
            presence.set_job(queued(engine))
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM workers"))
        wait_until(registered)


def test_error_of_a_claim_is_registered_until_a_claim_succeeds(engine: Engine, make_rig: MakeRig) -> None:
    def shown() -> str | None:
        with read_scope(engine) as session:
            worker = session.get(Worker, presence.id)
            return None if worker is None else worker.error

    rig, job_id = make_rig(), queued(engine)
    with Presence(engine, "worker", interval=60) as presence:
        with without_table(engine, "jobs"), pytest.raises(ProgrammingError):
            rig.run(job_id)
        # The statement and its parameters are not for the users of all projects.
        assert rig.errors == ['Claiming a job failed: UndefinedTable: relation "jobs" does not exist']
        presence.set_error(rig.errors[-1])
        assert shown() == rig.errors[-1]
        rig.run(job_id)
        assert rig.errors[1:] == [None]
        presence.set_error(None)
        assert shown() is None


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            PermissionError(errno.EROFS, "Read-only file system", "/data/secret"),
            "PermissionError: Read-only file system",
        ),
        (ValueError("s3://bucket/secret"), "ValueError, which the worker's log describes"),
    ],
)
def test_error_around_an_attempt_is_reported_without_values_of_its_project(
    engine: Engine, make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, error: Exception, shown: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    rig, job_id = make_rig(), queued(engine)
    monkeypatch.setattr(runner, "attempt_directory", fail)
    with pytest.raises(type(error)):
        rig.run(job_id)
    assert rig.errors == [None, f"Running a job failed: {shown}"]


def test_live_log_is_uploaded_after_an_unexpected_error(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = build_storage(f"file:{tmp_path / 'storage'}")
    (tmp_path / "log").write_bytes(b"a line")
    job_id = queued(engine)
    with without_table(engine, "artifacts"):
        live = LiveLog(engine, storage, claimed(engine, job_id), LogFile(tmp_path / "log", 1000), interval=0.05)
        live.__enter__()
        wait_until(lambda: failures(caplog, "live log") >= 1)
    wait_until(lambda: log_of(engine, storage, job_id) == b"a line")
    live.__exit__(None, None, None)


def test_service_of_a_dispatcher_is_called_again_until_it_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    calls, stop = [], Event()

    def serve() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise AssertionError("a defect")
        stop.wait()

    caplog.set_level(logging.ERROR)
    thread = Thread(target=run_until, args=[stop, serve, "webhooks", 0.01])
    thread.start()
    wait_until(lambda: len(calls) == 3)
    stop.set()
    thread.join(60)
    assert [record.getMessage() for record in caplog.records] == ["webhooks failed; it is called again"] * 2
