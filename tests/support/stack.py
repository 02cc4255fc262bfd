"""Runs dispatchers and workers as real processes that a test may kill."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Engine, func, select

from tests.support.factories import job_of, queued, spec
from tests.support.fork_server import ForkedModule
from tests.support.rabbitmq import RabbitServer
from tests.support.tiny import wait_until
from ttm_jobs.broker.embedded import EmbeddedBroker
from ttm_jobs.database.engine import create_engine, read_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.models import Attempt, Checkpoint, Job, Worker
from ttm_jobs.processes import die_with_parent
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.run_data import artifacts, recording
from ttm_jobs.settings import Settings
from ttm_jobs.states import TERMINAL, JobState
from ttm_jobs.storage import build_storage

ServiceProcess = subprocess.Popen[bytes] | ForkedModule


class Stack:
    """A dispatcher and workers with the tiny trainer, on the test's database and broker.

    `trainer_command` may be set to that of another trainer.
    """

    def __init__(
        self, directory: Path, database_url: str, broker: EmbeddedBroker | RabbitServer, **settings: object
    ) -> None:
        self.directory = directory
        self.trainer_command: Sequence[str] | None = None
        self.broker = broker
        self.engine: Engine = create_engine(database_url)
        self.data = directory / "data"
        self.data.mkdir(exist_ok=True)
        self.processes: list[ServiceProcess] = []
        self.settings = {
            "database_url": database_url,
            "broker_url": broker.url,
            "queue_name": new_id(),
            "storage_url": f"file:{directory}/storage",
            "data_roots": self.data,
            "lease_seconds": 5,
            "event_flush_seconds": 0.1,
            "reap_interval_seconds": 0.2,
            "dispatch_interval_seconds": 0.1,
            "renotify_seconds": 1,
            "retry_backoff_seconds": 0.1,
            "worker_timeout_seconds": 5,
            "stop_grace_seconds": 10,
            **settings,
        }
        storage_settings = {
            name: value for name, value in self.settings.items() if name.startswith(("s3_", "storage_"))
        }
        read = Settings.model_validate(storage_settings)
        self.storage = build_storage(read.storage_url, read.s3)

    def environment(self, work_dir: Path) -> Mapping[str, str]:
        own = {f"TTM_{name.upper()}": str(value) for name, value in self.settings.items()}
        trainer = {} if self.trainer_command is None else {"TRAINER_COMMAND": json.dumps(self.trainer_command)}
        return {**os.environ, **own, **trainer, "TTM_WORK_DIR": str(work_dir), "OMP_NUM_THREADS": "1"}

    def start_dispatcher(self) -> ServiceProcess:
        return self.start("dispatcher", "worker.dispatcher", self.directory)

    def start_worker(self, module: str = "tests.support.tiny_worker", work_dir: Path | None = None) -> ServiceProcess:
        """Starts a worker with its own work directory, as on a separate machine."""
        name = f"worker-{len(self.processes)}"
        before = len(self.workers())
        process = self.start(name, module, work_dir or self.directory / name)
        wait_until(lambda: len(self.workers()) > before)
        return process

    def start(
        self, name: str, module: str, work_dir: Path, prefix: Sequence[str] = (), **settings: object
    ) -> ServiceProcess:
        """Runs a module as a process until the test ends, under the command `prefix` and with additional settings."""
        own = {f"TTM_{setting.upper()}": str(value) for setting, value in settings.items()}
        environment, log = {**self.environment(work_dir), **own}, self.directory / f"{name}.log"
        process = _start(prefix, module, environment, log) if prefix else ForkedModule(module, environment, log)
        self.processes.append(process)
        return process

    def submit(self, name: str, **fields: object) -> str:
        """Submits a job and returns its id. `name` holds the options of the tiny trainer."""
        return queued(self.engine, spec=spec(name=name, dataset=f"file://{self.data}"), **fields)

    def job(self, job_id: str) -> Job:
        return job_of(self.engine, job_id)

    def step(self, job_id: str) -> int:
        return int((self.job(job_id).progress or {}).get("step", 0))

    def attempts(self, job_id: str) -> list[Attempt]:
        with read_scope(self.engine) as session:
            return list(crud.attempts(session, job_id))

    def checkpoints(self, job_id: str) -> list[Checkpoint]:
        with read_scope(self.engine) as session:
            return list(recording.checkpoints(session, job_id))

    def workers(self) -> list[Worker]:
        with read_scope(self.engine) as session:
            return list(workers.recent(session, within=timedelta(minutes=1), kind="worker"))

    def job_ids(self) -> list[str]:
        with read_scope(self.engine) as session:
            return list(session.scalars(select(Job.id).order_by(Job.id)))

    def count_unfinished(self) -> int:
        with read_scope(self.engine) as session:
            query = select(func.count()).select_from(Job).where(Job.state.not_in(TERMINAL))
            return session.scalar(query) or 0

    def held_by(self, pid: int) -> list[Job]:
        """The jobs leased by the worker process `pid`."""
        with read_scope(self.engine) as session:
            owners = select(Worker.id).where(Worker.pid == pid)
            return list(session.scalars(select(Job).where(Job.lease_owner.in_(owners))))

    def student(self, job_id: str) -> str:
        """The content of the published student. Verifies its hash against the database."""
        with read_scope(self.engine) as session:
            artifact = artifacts.get(session, job_id, artifacts.STUDENT)
        return b"".join(self.storage.open(artifact.key)).decode()

    def wait_for(self, job_id: str, state: JobState, seconds: float = 600.0) -> Job:
        def reached() -> bool:
            now = self.job(job_id)
            assert now.state is state or now.state not in TERMINAL, (now.state, now.failure)
            return now.state is state

        wait_until(reached, seconds)
        return self.job(job_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
        self.engine.dispose()
        # pytest shows this output for failed tests.
        for log in sorted(self.directory.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")


def _start(prefix: Sequence[str], module: str, environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", module],
            env=environment,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent(),
        )
