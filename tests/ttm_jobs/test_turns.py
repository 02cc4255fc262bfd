"""Whose turn it is: between projects, within one, and by what a worker has to capacity."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import Engine, text

from tests.support.factories import MINUTE, create_job, job_of, queued
from tests.support.statements import statements
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import Job
from ttm_jobs.repositories.access import projects
from ttm_jobs.repositories.jobs import crud, leases, lifecycle
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.jobs.scheduling import WorkerCapacity


def of(engine: Engine, project: str, **fields: object) -> str:
    with session_scope(engine) as session:
        projects.ensure(session, project)
    with session_scope(bound_to(engine, project)) as session:
        return create_job(session, **fields).id


def take(engine: Engine, capacity: WorkerCapacity | None = None, owner: str = "worker-1") -> Lease | None:
    with session_scope(engine) as session:
        return leases.claim_next(session, owner, duration=MINUTE, capacity=capacity or WorkerCapacity())


def taken(engine: Engine, capacity: WorkerCapacity | None = None) -> str | None:
    lease = take(engine, capacity)
    return None if lease is None else lease.job_id


def finish(engine: Engine, lease: Lease) -> None:
    with session_scope(engine) as session:
        lifecycle.succeeded(session, leases.fence(session, lease), result={}, files=[])


def test_within_a_project_the_most_urgent_then_the_oldest(engine: Engine) -> None:
    usual, urgent, later = queued(engine), queued(engine, priority=9), queued(engine)
    assert [taken(engine) for _ in range(4)] == [urgent, usual, later, None]


def test_one_worker_serves_projects_in_turns_however_many_jobs_one_has(engine: Engine) -> None:
    for _ in range(6):
        of(engine, "many", priority=9)
    few = {of(engine, "few", priority=0) for _ in range(2)}
    served = []
    for _ in range(5):
        lease = take(engine)
        assert lease is not None
        served.append("few" if lease.job_id in few else "many")
        finish(engine, lease)
    assert Counter(served[:4]) == {"few": 2, "many": 2}
    assert served[4] == "many"


def test_many_workers_are_shared_equally(engine: Engine) -> None:
    for project, count in (("a", 20), ("b", 20), ("c", 2)):
        for _ in range(count):
            of(engine, project)
    held = Counter(job_of(engine, str(taken(engine))).project_id for _ in range(12))
    assert held == {"a": 5, "b": 5, "c": 2}


def test_a_project_at_its_limit_lets_the_others_by(engine: Engine) -> None:
    with session_scope(engine) as session:
        projects.ensure(session, "bounded").max_running_jobs = 1
    first, _, other = of(engine, "bounded"), of(engine, "bounded"), of(engine, "other")
    assert {taken(engine), taken(engine)} == {first, other}
    assert taken(engine) is None


def test_a_job_given_back_keeps_its_place(engine: Engine) -> None:
    first, second = queued(engine), queued(engine)
    lease = take(engine)
    assert lease is not None
    assert lease.job_id == first
    with session_scope(engine) as session:
        lifecycle.released(session, leases.fence(session, lease), reason="drained")
    assert [taken(engine), taken(engine)] == [first, second]


def test_what_waits_for_a_moment_or_is_too_late_holds_up_nobody(engine: Engine) -> None:
    resting, late, ready = queued(engine, priority=9), queued(engine, priority=9), queued(engine)
    with session_scope(engine) as session:
        at = now(session)
        session.get_one(Job, resting).not_before = at + MINUTE
        session.get_one(Job, late).deadline_at = at - timedelta(seconds=1)
    assert [taken(engine), taken(engine)] == [ready, None]


def test_a_worker_takes_jobs_of_its_queues_the_preferred_first(engine: Engine) -> None:
    cpu, gpu, large = queued(engine, queue="cpu"), queued(engine, queue="gpu"), queued(engine, queue="gpu-80g")
    assert taken(engine, WorkerCapacity(("default",))) is None
    assert taken(engine, WorkerCapacity(("gpu-80g", "gpu"))) == large
    assert taken(engine, WorkerCapacity(("gpu-80g", "gpu"))) == gpu
    assert taken(engine, WorkerCapacity(("gpu-80g", "gpu"))) is None
    assert taken(engine, WorkerCapacity(("cpu",))) == cpu


def test_a_job_too_large_for_a_device_waits_for_another_and_holds_up_nobody(engine: Engine) -> None:
    large, small = queued(engine, device_memory_bytes=40 * 2**30, priority=9), queued(engine)
    little = WorkerCapacity(memory_bytes=24 * 2**30)
    assert [taken(engine, little), taken(engine, little)] == [small, None]
    assert job_of(engine, large).attempt == 0
    assert taken(engine, WorkerCapacity(memory_bytes=80 * 2**30)) == large


def test_of_many_workers_at_once_each_gets_a_job_of_its_own(engine: Engine) -> None:
    everything = {of(engine, project) for project in ("a", "b", "c") for _ in range(8)}
    barrier = Barrier(8)

    def work(number: int) -> list[str]:
        barrier.wait()
        won = []
        while (lease := take(engine, owner=f"worker-{number}")) is not None:
            won.append(lease.job_id)
        return won

    with ThreadPoolExecutor(8) as pool:
        won = [job_id for part in pool.map(work, range(8)) for job_id in part]
    assert sorted(won) == sorted(everything)


def test_the_next_job_is_found_in_the_indexes(engine: Engine) -> None:
    """A claim reads as much as there are projects and running jobs, not as there are jobs."""
    for project in ("a", "b"):
        for _ in range(3):
            of(engine, project)
    with statements(engine, lambda sql: sql.startswith(("SELECT jobs.id", "WITH RECURSIVE"))) as reads:
        assert taken(engine) is not None
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # So few rows are read fastest from the table itself.
            connection.execute(text("SET enable_seqscan = off"))
        how = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
        plans = [
            "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{how} {sql}", values))
            for sql, values in reads
        ]
    turns, first = plans[0], plans[1]
    for plan in (turns, first):
        assert "ix_jobs_waiting" in plan, plan
        assert "SCAN jobs" not in plan, plan
        assert "Seq Scan on jobs" not in plan, plan
    assert "ix_jobs_begun" in turns
    assert "sort" not in first.lower(), first
    assert "TEMP B-TREE" not in first


@pytest.mark.parametrize("field", ["queue", "device_memory_bytes"])
def test_a_retry_asks_for_what_the_old_job_asked_for(engine: Engine, field: str) -> None:
    job_id = queued(engine, queue="gpu", device_memory_bytes=2**30)
    with session_scope(engine) as session:
        crud.request_cancel(session, job_id)
    with session_scope(engine) as session:
        again = crud.retry(session, job_id).id
    assert getattr(job_of(engine, again), field) == getattr(job_of(engine, job_id), field)
