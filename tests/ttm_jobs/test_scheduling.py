"""Scheduling: between projects, within a project, and by worker capacity."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import Engine, text

from tests.support.factories import MINUTE, create_job, job_of, queued, spec
from tests.support.statements import statements
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import Job
from ttm_jobs.repositories.access import projects
from ttm_jobs.repositories.jobs import control, leases, lifecycle
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.jobs.scheduling import WorkerCapacity
from ttm_jobs.repositories.run_data import recording


def queued_in(engine: Engine, project: str, **fields: object) -> str:
    with session_scope(engine) as session:
        projects.ensure(session, project)
    with session_scope(bound_to(engine, project)) as session:
        return create_job(session, **fields).id


def claim_next(engine: Engine, capacity: WorkerCapacity | None = None, owner: str = "worker-1") -> Lease | None:
    with session_scope(engine) as session:
        return leases.claim_next(session, owner, duration=MINUTE, capacity=capacity or WorkerCapacity())


def claimed_id(engine: Engine, capacity: WorkerCapacity | None = None) -> str | None:
    lease = claim_next(engine, capacity)
    return None if lease is None else lease.job_id


def finish(engine: Engine, lease: Lease) -> None:
    with session_scope(engine) as session:
        lifecycle.succeeded(session, leases.fence(session, lease), result={}, files=[])


def test_highest_priority_then_oldest_job_within_a_project(engine: Engine) -> None:
    usual, urgent, later = queued(engine), queued(engine, priority=9), queued(engine)
    assert [claimed_id(engine) for _ in range(4)] == [urgent, usual, later, None]


def test_one_worker_serves_projects_round_robin(engine: Engine) -> None:
    for _ in range(6):
        queued_in(engine, "many", priority=9)
    few = {queued_in(engine, "few", priority=0) for _ in range(2)}
    served = []
    for _ in range(5):
        lease = claim_next(engine)
        assert lease is not None
        served.append("few" if lease.job_id in few else "many")
        finish(engine, lease)
    assert Counter(served[:4]) == {"few": 2, "many": 2}
    assert served[4] == "many"


def test_workers_are_shared_equally_between_projects(engine: Engine) -> None:
    for project, count in (("a", 20), ("b", 20), ("c", 2)):
        for _ in range(count):
            queued_in(engine, project)
    held = Counter(job_of(engine, str(claimed_id(engine))).project_id for _ in range(12))
    assert held == {"a": 5, "b": 5, "c": 2}


def test_project_at_its_limit_does_not_block_others(engine: Engine) -> None:
    with session_scope(engine) as session:
        projects.ensure(session, "bounded").max_running_jobs = 1
    first, _, other = queued_in(engine, "bounded"), queued_in(engine, "bounded"), queued_in(engine, "other")
    assert {claimed_id(engine), claimed_id(engine)} == {first, other}
    assert claimed_id(engine) is None


def test_released_job_keeps_its_queue_position(engine: Engine) -> None:
    first, second = queued(engine), queued(engine)
    lease = claim_next(engine)
    assert lease is not None
    assert lease.job_id == first
    with session_scope(engine) as session:
        lifecycle.released(session, leases.fence(session, lease), reason="drained")
    assert [claimed_id(engine), claimed_id(engine)] == [first, second]


def test_jobs_in_backoff_or_past_their_deadline_block_no_others(engine: Engine) -> None:
    resting, late, ready = queued(engine, priority=9), queued(engine, priority=9), queued(engine)
    with session_scope(engine) as session:
        at = now(session)
        session.get_one(Job, resting).not_before = at + MINUTE
        session.get_one(Job, late).deadline_at = at - timedelta(seconds=1)
    assert [claimed_id(engine), claimed_id(engine)] == [ready, None]


def test_worker_claims_from_its_queues_in_order_of_preference(engine: Engine) -> None:
    cpu, gpu, large = queued(engine, queue="cpu"), queued(engine, queue="gpu"), queued(engine, queue="gpu-80g")
    assert claimed_id(engine, WorkerCapacity(("default",))) is None
    assert claimed_id(engine, WorkerCapacity(("gpu-80g", "gpu"))) == large
    assert claimed_id(engine, WorkerCapacity(("gpu-80g", "gpu"))) == gpu
    assert claimed_id(engine, WorkerCapacity(("gpu-80g", "gpu"))) is None
    assert claimed_id(engine, WorkerCapacity(("cpu",))) == cpu


def test_job_too_large_for_a_device_waits_and_blocks_no_others(engine: Engine) -> None:
    large, small = queued(engine, device_memory_bytes=40 * 2**30, priority=9), queued(engine)
    little = WorkerCapacity(memory_bytes=24 * 2**30)
    assert [claimed_id(engine, little), claimed_id(engine, little)] == [small, None]
    assert job_of(engine, large).attempt == 0
    assert claimed_id(engine, WorkerCapacity(memory_bytes=80 * 2**30)) == large


def test_job_waits_for_a_worker_with_its_devices_and_blocks_no_others(engine: Engine) -> None:
    on_gpu, four = queued(engine, device_kind="cuda", priority=9), queued(engine, gpus=4, priority=8)
    on_cpu = queued(engine, device_kind="cpu")
    cpu, gpu, node = (
        WorkerCapacity(kind="cpu", count=2),
        WorkerCapacity(kind="cuda"),
        WorkerCapacity(kind="cuda", count=8),
    )
    assert [claimed_id(engine, gpu), claimed_id(engine, gpu)] == [on_gpu, None]
    assert claimed_id(engine, node) == four
    assert [claimed_id(engine, cpu), claimed_id(engine, cpu)] == [on_cpu, None]
    assert claimed_id(engine, WorkerCapacity(kind="cpu", count=2)) is None


def test_job_in_a_reduced_precision_waits_for_a_device_that_has_it(engine: Engine) -> None:
    in_bfloat16 = queued(engine, spec=spec(training={"precision": "bfloat16"}), priority=9)
    in_float16 = queued(engine, spec=spec(training={"teacher_precision": "float16"}), priority=8)
    automatic = queued(engine, spec=spec(training={"precision": "auto"}))
    cpu, turing = WorkerCapacity(kind="cpu", bfloat16=True), WorkerCapacity(kind="cuda", bfloat16=False)
    assert [claimed_id(engine, turing) for _ in range(3)] == [in_float16, automatic, None]
    assert [claimed_id(engine, cpu), claimed_id(engine, cpu)] == [in_bfloat16, None]


def test_later_attempts_need_a_device_for_the_precision_that_the_first_chose(engine: Engine) -> None:
    job_id = queued(engine, spec=spec(training={"precision": "auto"}))
    lease = claim_next(engine, WorkerCapacity(kind="cpu", bfloat16=True))
    assert lease is not None
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        recording.resolved(session, job, {"training": {"precision": "bfloat16"}}, {}, now(session))
    with session_scope(engine) as session:
        leases.release_all(session, reason="the worker stops")
    assert claimed_id(engine, WorkerCapacity(kind="cuda", bfloat16=False)) is None
    assert claimed_id(engine, WorkerCapacity(kind="cuda", bfloat16=True)) == job_id


def test_concurrent_workers_claim_different_jobs(engine: Engine) -> None:
    everything = {queued_in(engine, project) for project in ("a", "b", "c") for _ in range(8)}
    barrier = Barrier(8)

    def work(number: int) -> list[str]:
        barrier.wait()
        won = []
        while (lease := claim_next(engine, owner=f"worker-{number}")) is not None:
            won.append(lease.job_id)
        return won

    with ThreadPoolExecutor(8) as pool:
        won = [job_id for part in pool.map(work, range(8)) for job_id in part]
    assert sorted(won) == sorted(everything)


def test_claim_uses_the_indexes(engine: Engine) -> None:
    """The cost of a claim grows with projects and running jobs, not with queued jobs."""
    for project in ("a", "b"):
        for _ in range(3):
            queued_in(engine, project)
    with statements(engine, lambda sql: sql.startswith(("SELECT jobs.id", "WITH RECURSIVE"))) as reads:
        assert claimed_id(engine) is not None
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # The planner would prefer a sequential scan for a small table.
            connection.execute(text("SET enable_seqscan = off"))
        how = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
        plans = [
            "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{how} {sql}", values))
            for sql, values in reads
        ]
    project_order, first = plans[0], plans[1]
    for plan in (project_order, first):
        assert "ix_jobs_waiting" in plan, plan
        assert "SCAN jobs" not in plan, plan
        assert "Seq Scan on jobs" not in plan, plan
    assert "ix_jobs_begun" in project_order
    assert "sort" not in first.lower(), first
    assert "TEMP B-TREE" not in first


@pytest.mark.parametrize("field", ["queue", "device_kind", "gpus", "device_memory_bytes"])
def test_retry_keeps_queue_and_devices(engine: Engine, field: str) -> None:
    job_id = queued(engine, queue="gpu", device_kind="cuda", gpus=4, device_memory_bytes=2**30)
    with session_scope(engine) as session:
        control.request_cancel(session, job_id)
    with session_scope(engine) as session:
        retry_id = control.retry(session, job_id).id
    assert getattr(job_of(engine, retry_id), field) == getattr(job_of(engine, job_id), field)
