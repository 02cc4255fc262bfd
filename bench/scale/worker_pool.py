"""`python -m bench.scale.worker_pool JSON`: many workers as threads of one process. Their trainers only sleep.

Wake-up messages, claims, leases, heartbeats, presence and outcomes use the worker's code. Prints one JSON object at
the end.
"""

import json
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

import redis
from sqlalchemy import Engine, event

from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, create_engine, session_scope
from ttm_jobs.errors import LeaseLost
from ttm_jobs.repositories.jobs import crud, leases, lifecycle
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.jobs.scheduling import WorkerCapacity
from worker.presence import Presence
from worker.run.heartbeat import Heartbeat

_LEASE_SECONDS = 30.0


@dataclass(frozen=True)
class PoolOptions:
    """Parameters of a worker pool."""

    database_url: str
    broker_url: str
    queue_name: str
    workers: int
    trainer_timeout_seconds: float
    heartbeat_seconds: float
    seconds: float
    """From the context at which all its workers are there."""


@dataclass
class PoolResult:
    """Results of a worker pool. `claims` has the job, its project and the seconds it was queued."""

    claims: list[tuple[str, str, float]] = field(default_factory=list)
    ended: int = 0
    empty_rings: int = 0
    away: int = 0
    lost: int = 0
    statements: int = 0
    statement_seconds: float = 0.0
    cpu_seconds: float = 0.0
    claim_seconds: list[float] = field(default_factory=list)


class WorkerPool:
    def __init__(self, options: PoolOptions) -> None:
        self._orders = options
        self._engine = create_engine(options.database_url)
        self._result = PoolResult()
        self._lock = threading.Lock()
        self._until = 0.0
        _count(self._engine, self._result, self._lock)
        # kombu has one list per priority.
        self._lists = [options.queue_name, *(f"{options.queue_name}\x06\x16{number}" for number in range(1, 10))]

    def run(self) -> PoolResult:
        everyone = threading.Barrier(self._orders.workers + 1)
        threads = [threading.Thread(target=self._work, args=[everyone]) for _ in range(self._orders.workers)]
        for thread in threads:
            thread.start()
        everyone.wait()
        with self._lock:
            self._result.statements, self._result.statement_seconds = 0, 0.0
        cpu = time.process_time()
        self._until = time.monotonic() + self._orders.seconds
        everyone.wait()
        print("ready", file=sys.stderr, flush=True)
        for thread in threads:
            thread.join()
        self._result.cpu_seconds = time.process_time() - cpu
        return self._result

    def _work(self, everyone: threading.Barrier) -> None:
        broker = redis.Redis.from_url(self._orders.broker_url)
        with Presence(self._engine, "worker", interval=15.0, queues=["default"]) as presence:
            everyone.wait()
            everyone.wait()
            while time.monotonic() < self._until:
                if broker.brpop(self._lists, timeout=1) is None:
                    continue
                try:
                    self._answer(presence)
                except LeaseLost:
                    self._count("lost")
                except DATABASE_UNAVAILABLE:
                    self._count("away")

    def _answer(self, presence: Presence) -> None:
        asked = time.monotonic()
        lease = self._claim(presence.id)
        if lease is None:
            self._count("empty_rings")
            return
        with self._lock:
            self._result.claim_seconds.append(time.monotonic() - asked)
        presence.set_job(lease.job_id)
        with Heartbeat(self._engine, lease, duration=_LEASE_SECONDS, interval=self._orders.heartbeat_seconds):
            time.sleep(self._orders.trainer_timeout_seconds)
            with session_scope(self._engine) as session:
                lifecycle.succeeded(session, leases.fence(session, lease), result={}, files=[])
        presence.set_job(None)
        self._count("ended")

    def _claim(self, owner: str) -> Lease | None:
        with session_scope(self._engine) as session:
            duration = timedelta(seconds=_LEASE_SECONDS)
            lease = leases.claim_next(session, owner, duration=duration, capacity=WorkerCapacity())
            if lease is None:
                return None
            job = crud.get(session, lease.job_id)
            assert job.started_at is not None
            claim = (job.id, job.project_id, (job.started_at - job.created_at).total_seconds())
        with self._lock:
            self._result.claims.append(claim)
        return lease

    def _count(self, name: str) -> None:
        with self._lock:
            setattr(self._result, name, getattr(self._result, name) + 1)


def _count(engine: Engine, result: PoolResult, lock: threading.Lock) -> None:
    """Counts statements and measures the time until their results."""

    def before(connection: Any, *_: Any) -> None:
        connection.info["asked"] = time.perf_counter()

    def after(connection: Any, *_: Any) -> None:
        took = time.perf_counter() - connection.info["asked"]
        with lock:
            result.statements += 1
            result.statement_seconds += took

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)


if __name__ == "__main__":
    print(json.dumps(asdict(WorkerPool(PoolOptions(**json.loads(sys.argv[1]))).run())))
