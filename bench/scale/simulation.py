"""A service with many workers and a long queue, on a real PostgreSQL and a real broker of its own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from threading import Event, Thread
from typing import Any

import psutil
from sqlalchemy import Engine, func, insert, select, text

from bench.scale.worker_pool import PoolOptions, PoolResult
from tests.support.servers import PostgresServer
from ttm_jobs.broker.embedded import EmbeddedBroker
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import create_engine, read_scope, session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.database.migrate import upgrade
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import Attempt, Job, JobEvent, OutboxMessage
from ttm_jobs.processes import die_with_parent
from ttm_jobs.repositories.access import projects
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.states import JobState

_SPEC = {"student": "resnet18", "dataset": "file:///data/pets", "method": "ce"}
_TEMPLATE = "filled"
_BATCH = 5_000
# Jobs cannot be submitted faster one after the other.
_SEND_SECONDS = 0.25


@dataclass(frozen=True)
class Plan:
    """Parameters of the simulation.

    At the start, `large` jobs of one project with the highest priority are queued. Another project submits jobs of the
    lowest priority, at the rate `small_share` of what the workers could finish.
    """

    large: int = 100_000
    seconds: float = 25.0
    trainer_timeout_seconds: float = 2.0
    heartbeat_seconds: float = 1.0
    pool_size: int = 50
    small_share: float = 0.1


@dataclass(frozen=True)
class Figures:
    """Results for one number of workers. Times in seconds; `small` is the queue time of the small project's jobs."""

    workers: int
    processes: int
    asked_per_second: float
    claims: int
    claims_per_second: float
    claimed_twice: int
    claim_p50: float
    claim_p99: float
    small_jobs: int
    small_p50: float
    small_p99: float
    statements_per_job: float
    statement_seconds_per_job: float
    postgres_cpu_seconds_per_job: float
    pool_cpu_seconds_per_job: float
    hot_updates: float
    database_unavailable: int


class Simulation:
    """Servers and a database that contains the long queue."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    @contextmanager
    def running(self) -> Iterator["Simulation"]:
        with (
            tempfile.TemporaryDirectory() as folder,
            PostgresServer(durable=True) as self._postgres,
            EmbeddedBroker(Path(folder) / "redis") as self._broker,
        ):
            self._folder = Path(folder)
            url = self._postgres.create_database(_TEMPLATE)
            upgrade(url)
            engine = create_engine(url)
            fill(engine, self._plan.large)
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM ANALYZE"))
            engine.dispose()
            yield self

    def measure(self, workers: int) -> Figures:
        """One run on a fresh copy of the filled database."""
        plan = self._plan
        name = f"run_{new_id()}"
        url = self._postgres.create_database(name, template=_TEMPLATE)
        engine = create_engine(url)
        queue = new_id()
        sizes = [min(plan.pool_size, workers - done) for done in range(0, workers, plan.pool_size)]
        try:
            with _dispatcher(url, self._broker, queue, self._folder):
                pools = [self._start_pool(url, queue, size) for size in sizes]
                for pool in pools:
                    assert pool.stderr is not None
                    line = pool.stderr.readline()
                    assert line == "ready\n", line + pool.stderr.read()
                before = _cpu_seconds(self._postgres.pid)
                stop = Event()
                every = plan.trainer_timeout_seconds / workers / plan.small_share
                sender = Thread(target=_send_small, args=[engine, max(every, _SEND_SECONDS), stop])
                sender.start()
                time.sleep(plan.seconds)
                cpu = _cpu_seconds(self._postgres.pid) - before
                stop.set()
                sender.join()
                results = [PoolResult(**json.loads(pool.communicate(timeout=120)[0])) for pool in pools]
            return self._figures(engine, workers, results, cpu)
        finally:
            engine.dispose()
            self._postgres.drop_database(name)

    def _start_pool(self, url: str, queue: str, size: int) -> "subprocess.Popen[str]":
        plan = self._plan
        orders = PoolOptions(
            url, self._broker.url, queue, size, plan.trainer_timeout_seconds, plan.heartbeat_seconds, plan.seconds
        )
        return subprocess.Popen(
            [sys.executable, "-m", "bench.scale.worker_pool", json.dumps(asdict(orders))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(),
        )

    def _figures(self, engine: Engine, workers: int, results: Sequence[PoolResult], cpu: float) -> Figures:
        claims = [claim for pool in results for claim in pool.claims]
        small = [waited for _, project, waited in claims if project == "small"]
        took = [seconds for pool in results for seconds in pool.claim_seconds]
        jobs_done = max(len(claims), 1)
        with read_scope(engine) as session:
            # Every claim creates an attempt: the database must contain as many, and none of a job twice.
            attempts = session.scalar(select(func.count()).select_from(Attempt)) or 0
            distinct = session.scalar(select(func.count(func.distinct(Attempt.job_id)))) or 0
            hot, updates = session.execute(
                text("SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'jobs'")
            ).one()
        twice = max(len(claims) - len({job_id for job_id, _, _ in claims}), attempts - distinct)
        return Figures(
            workers=workers,
            processes=len(results),
            asked_per_second=workers / self._plan.trainer_timeout_seconds,
            claims=len(claims),
            claims_per_second=len(claims) / self._plan.seconds,
            claimed_twice=twice,
            claim_p50=median(took or [0]),
            claim_p99=_p99(took),
            small_jobs=len(small),
            small_p50=median(small or [0]),
            small_p99=_p99(small),
            statements_per_job=sum(pool.statements for pool in results) / jobs_done,
            statement_seconds_per_job=sum(pool.statement_seconds for pool in results) / jobs_done,
            postgres_cpu_seconds_per_job=cpu / jobs_done,
            pool_cpu_seconds_per_job=sum(pool.cpu_seconds for pool in results) / jobs_done,
            hot_updates=hot / max(updates, 1),
            database_unavailable=sum(pool.away for pool in results),
        )


def fill(engine: Engine, count: int) -> None:
    """Inserts the long queue of the project `large`, with a pending wake-up message per job."""
    with session_scope(engine) as session:
        projects.ensure(session, "large")
        projects.ensure(session, "small")
        at = now(session)
    for begin in range(0, count, _BATCH):
        ids = [new_id() for _ in range(min(_BATCH, count - begin))]
        with session_scope(engine) as session:
            session.execute(insert(Job), [_job(job_id, at) for job_id in ids])
            state = {"state": JobState.QUEUED, "from": None}
            session.execute(
                insert(JobEvent),
                [{"job_id": job_id, "number": 1, "kind": "state", "data": state, "at": at} for job_id in ids],
            )
            message = {"priority": 9, "queue": "default"}
            session.execute(
                insert(OutboxMessage),
                [
                    {
                        "topic": "wake_up",
                        "payload": {"job_id": job_id, **message},
                        "created_at": at,
                        "next_attempt_at": at,
                    }
                    for job_id in ids
                ],
            )


def _job(job_id: str, at: Any) -> dict[str, Any]:
    return {
        "id": job_id,
        "project_id": "large",
        "tags": [],
        "state": JobState.QUEUED,
        "spec": _SPEC,
        "student": "resnet18",
        "dataset": "file:///data/pets",
        "method": "ce",
        "latest": {},
        "priority": 9,
        "rank": 2 * 9 + 1,
        "max_attempts": 3,
        "last_event_number": 1,
        "version": 1,
        "created_at": at,
        "queued_at": at,
        "notified_at": at,
    }


def _send_small(engine: Engine, every: float, stop: Event) -> None:
    ours = bound_to(engine, "small")
    while not stop.wait(every):
        with session_scope(ours) as session:
            crud.create(session, spec=_SPEC, student="resnet18", dataset="file:///data/pets", method="ce", priority=0)


@contextmanager
def _dispatcher(url: str, broker: EmbeddedBroker, queue: str, folder: Path) -> Iterator[None]:
    settings = {
        "DATABASE_URL": url,
        "BROKER_URL": broker.url,
        "QUEUE_NAME": queue,
        "STORAGE_URL": f"file:{folder}/storage",
    }
    with (folder / "dispatcher.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.dispatcher"],
            env={**os.environ, **{f"TTM_{name}": value for name, value in settings.items()}},
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(),
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _cpu_seconds(pid: int) -> float:
    """Returns the CPU seconds of a server and of all its running processes."""
    server = psutil.Process(pid)
    total = 0.0
    for process in (server, *server.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def _p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100)[98] if len(values) > 1 else sum(values)
