from sqlalchemy import Engine

from tests.support.factories import MINUTE, NO_TIME
from ttm_jobs.database.engine import session_scope
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.workers import Kind
from ttm_jobs.settings import DEFAULT_QUEUE


def register(engine: Engine, worker_id: str, kind: Kind = "worker", job_id: str | None = None) -> None:
    with session_scope(engine) as session:
        workers.register(
            session, worker_id, kind=kind, hostname="host", pid=1, devices=[{"kind": "cpu", "count": 2}], job_id=job_id
        )


def test_processes_register_and_renew(engine: Engine) -> None:
    register(engine, "a")
    register(engine, "b", kind="dispatcher")
    register(engine, "a", job_id="job-1")
    with session_scope(engine) as session:
        registered = workers.recent(session, within=MINUTE)
        assert [(worker.id, worker.kind, worker.job_id) for worker in registered] == [
            ("a", "worker", "job-1"),
            ("b", "dispatcher", None),
        ]
        assert registered[0].last_seen_at > registered[0].started_at
        assert [worker.id for worker in workers.recent(session, within=MINUTE, kind="dispatcher")] == ["b"]
        assert workers.recent(session, within=NO_TIME) == []


def test_workers_without_a_job_are_idle(engine: Engine) -> None:
    register(engine, "busy", job_id="job-1")
    register(engine, "idle")
    register(engine, "dispatcher", kind="dispatcher")
    with session_scope(engine) as session:
        assert workers.idle_by_queue(session, within=MINUTE) == {DEFAULT_QUEUE: 1}
        assert workers.idle_by_queue(session, within=NO_TIME) == {}


def test_removed_or_unresponsive_workers_are_deleted(engine: Engine) -> None:
    register(engine, "left")
    register(engine, "unresponsive")
    with session_scope(engine) as session:
        workers.remove(session, "left")
        workers.delete_unresponsive(session, unresponsive_for=MINUTE)
        assert [worker.id for worker in workers.recent(session, within=MINUTE)] == ["unresponsive"]
        workers.delete_unresponsive(session, unresponsive_for=-MINUTE)
        assert workers.recent(session, within=MINUTE) == []
