"""The one task, and the process around it."""

import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from threading import Event as Flag
from typing import Any

from celery.signals import setup_logging, worker_init, worker_shutdown, worker_shutting_down

from ttm_jobs.broker.notifier import RUN_TASK
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, create_engine
from ttm_jobs.storage import build_storage
from ttm_jobs.telemetry import logs, traces
from worker import metrics
from worker.app import app, settings
from worker.presence import Presence
from worker.run.runner import Runner
from worker.teacher_stores.report import StoreReport
from worker.trainer import devices, stale
from worker.trainer.stale import remove_leftovers
from worker.trainer.standby import Starter

logger = logging.getLogger(__name__)


class WorkerProcess:
    """What a worker process has from its start to its end."""

    def __init__(self) -> None:
        self.trainer_command: Sequence[str] = (sys.executable, "-m", "ttm_core", "run")
        self.standby = settings.standby_trainer
        self.draining = Flag()
        self._exit = ExitStack()
        self._runner: Runner | None = None

    def start(self) -> None:
        """Raises what keeps it from working: a worker that cannot write would spend the attempts of every job it
        took.
        """
        stale.kill_orphans()
        settings.work_dir.mkdir(parents=True, exist_ok=True)
        storage = build_storage(settings.storage_url, settings.s3)
        storage.check()
        metrics.serve(settings, metrics.WORKER)
        traces.set_up(settings.traces_endpoint, "ttm-worker")
        self._exit.callback(traces.shut_down)
        engine = create_engine(settings.database_url)
        self._exit.callback(engine.dispose)
        with suppress(*DATABASE_UNAVAILABLE):
            # A database that is away now is no reason not to start; the next worker cleans up.
            remove_leftovers(engine, settings.work_dir)
        device = devices.find()
        report = StoreReport(engine, settings.work_dir)
        presence = Presence(
            engine,
            "worker",
            interval=settings.heartbeat_seconds,
            devices=[asdict(device)],
            queues=settings.queues,
            also=report.tell,
        )
        self._exit.enter_context(presence)
        starter = Starter(self.trainer_command, marks=stale.marks(), standby=self.standby, settings=settings)
        self._exit.callback(starter.end)
        starter.prepare()
        self._runner = Runner(
            settings,
            engine,
            storage,
            worker_id=presence.id,
            starter=starter,
            draining=self.draining,
            on_job=presence.holds,
            memory_bytes=device.memory_bytes,
        )

    def run(self) -> None:
        if self._runner is None:
            raise RuntimeError("the worker process is not started")
        self._runner.run()

    def end(self) -> None:
        self._exit.close()


process = WorkerProcess()


def run(job_id: str) -> None:
    """Answers a ring. Its job only woke us: the record says whose turn it is."""
    process.run()


def _start(**_: Any) -> None:
    try:
        process.start()
    except Exception as error:
        logger.exception("the worker cannot start")
        # Celery would log any other exception, and go on.
        raise SystemExit(1) from error


def _drain(**_: Any) -> None:
    # Runs within the signal handler: the running task sees the flag, has its trainer save a checkpoint, and returns.
    process.draining.set()


def _end(**_: Any) -> None:
    process.end()


def _log(**_: Any) -> None:
    # That somebody answers this signal keeps Celery from setting up logs of its own.
    logs.configure_stdlib()


app.task(run, name=RUN_TASK)
setup_logging.connect(_log)
worker_init.connect(_start)
worker_shutting_down.connect(_drain)
worker_shutdown.connect(_end)
