"""The Celery task and the worker process."""

import logging
import os
import signal
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
from worker.trainer import devices, installed, stale
from worker.trainer.memory.trainer_groups import TrainerGroups
from worker.trainer.stale import remove_stale_directories
from worker.trainer.starter import Starter

logger = logging.getLogger(__name__)


class WorkerProcess:
    """The state of a worker process."""

    def __init__(self) -> None:
        self.trainer_command: Sequence[str] = (sys.executable, "-m", "ttm_core", "run")
        self.standby = settings.standby_trainer
        self.draining = Flag()
        self._exit = ExitStack()
        self._runner: Runner | None = None

    def start(self) -> None:
        """Prepares the worker.

        Raises if the storage is not writable or its GPUs cannot be used, because such a worker would fail every job.
        """
        stale.kill_orphans()
        settings.work_dir.mkdir(parents=True, exist_ok=True)
        storage = build_storage(settings.storage_url, settings.s3)
        storage.check()
        metrics.serve(settings, metrics.WORKER)
        traces.set_up(settings.traces_endpoint, "ttm-worker")
        self._exit.callback(traces.shut_down)
        engine = create_engine(settings.database_url, default_limits=settings.project_limits(settings.storage_url))
        self._exit.callback(engine.dispose)
        with suppress(*DATABASE_UNAVAILABLE):
            # An unavailable database must not prevent the start; the next worker cleans up.
            remove_stale_directories(engine, settings.work_dir)
        device = devices.find()
        if device.kind == "cuda":
            devices.check_gpus(settings)
        architectures = installed.find(settings)
        report = StoreReport(engine, settings.work_dir)
        presence = Presence(
            engine,
            "worker",
            interval=settings.heartbeat_seconds,
            devices=[asdict(device)],
            queues=settings.queues,
            architectures=architectures,
            also=report.send,
        )
        self._exit.enter_context(presence)
        starter = Starter(
            self.trainer_command,
            marks=stale.marks(),
            standby=self.standby,
            settings=settings,
            groups=TrainerGroups.of_worker(settings),
        )
        self._exit.callback(starter.end)
        starter.prepare()
        self._runner = Runner(
            settings,
            engine,
            storage,
            worker_id=presence.id,
            starter=starter,
            draining=self.draining,
            leave=lambda: os.kill(os.getpid(), signal.SIGTERM),
            on_job=presence.set_job,
            on_error=presence.set_error,
            device=device,
            architectures=architectures,
        )

    def run(self) -> None:
        if self._runner is None:
            raise RuntimeError("the worker process is not started")
        self._runner.run()

    def end(self) -> None:
        self._exit.close()


process = WorkerProcess()


def run(job_id: str) -> None:
    """Handles a wake-up message. Scheduling decides which job runs."""
    process.run()


def _start(**_: Any) -> None:
    try:
        process.start()
    except Exception as error:
        logger.exception("the worker cannot start")
        # Celery would log any other exception and continue.
        raise SystemExit(1) from error


def _drain(**_: Any) -> None:
    # Runs in the signal handler. The running task sees the flag, asks its trainer for a checkpoint, and returns.
    process.draining.set()


def _end(**_: Any) -> None:
    process.end()


def _log(**_: Any) -> None:
    # A receiver of this signal prevents Celery from configuring logging.
    logs.configure_stdlib()


app.task(run, name=RUN_TASK)
setup_logging.connect(_log)
worker_init.connect(_start)
worker_shutting_down.connect(_drain)
worker_shutdown.connect(_end)
