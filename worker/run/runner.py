"""Runs jobs on a worker: claim, prepare, supervise, publish, finalize."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Event as Flag

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from ttm_core.errors import DeviceUnavailable
from ttm_core.spec.study.run_options import RunOptions
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, describe_error, session_scope
from ttm_jobs.errors import LeaseLost
from ttm_jobs.models import Checkpoint
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.access import projects
from ttm_jobs.repositories.jobs import crud, leases
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.jobs.scheduling import WorkerCapacity
from ttm_jobs.repositories.run_data import recording
from ttm_jobs.settings import Settings
from ttm_jobs.sources import AllowedSources
from ttm_jobs.storage import Storage
from ttm_jobs.telemetry import traces
from worker import metrics
from worker.inputs import Inputs
from worker.inputs.run_options import run_options
from worker.run.attempt import Attempt
from worker.run.finalize import Finalizer
from worker.run.heartbeat import Heartbeat
from worker.run.outcomes import Broken, Outcome, ReachedEpoch, Rejected, Released, StageSucceeded, Succeeded
from worker.run.publish import LiveLog
from worker.run.recorder import Recorder
from worker.run.stop_requests import StopRequests
from worker.teacher_stores.exchange import StoreExchange
from worker.teacher_stores.report import folder
from worker.trainer.devices import Device
from worker.trainer.log import LogFile
from worker.trainer.process import Trainer
from worker.trainer.resources import trainer_limit
from worker.trainer.stale import attempt_directory, remove_attempt
from worker.trainer.starter import Starter

logger = logging.getLogger(__name__)

_MAX_ERROR = 300
_NAMES: dict[type[Outcome], str] = {
    Succeeded: "succeeded",
    StageSucceeded: "succeeded",
    ReachedEpoch: "paused",
    Rejected: "failed",
    Broken: "error",
    Released: "released",
}


@dataclass(frozen=True)
class _Claimed:
    """A claimed job."""

    lease: Lease
    spec: Json
    checkpoints: Sequence[Checkpoint]
    allowed: AllowedSources
    options: RunOptions
    traceparent: str | None


class Runner:
    """Runs jobs one at a time as the worker `worker_id`.

    `draining` is set when the process is asked to stop; `leave` asks it to stop. `on_job` is called with the current
    job, and `on_error` with the error of a claim or an attempt, or None after a claim without one.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        storage: Storage,
        *,
        worker_id: str,
        starter: Starter,
        draining: Flag,
        leave: Callable[[], None],
        on_job: Callable[[str | None], None],
        on_error: Callable[[str | None], None] = lambda _: None,
        device: Device | None = None,
        architectures: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._storage = storage
        self._worker_id = worker_id
        self._starter = starter
        self._draining = draining
        self._leave = leave
        self._on_job = on_job
        self._on_error = on_error
        capacity = WorkerCapacity(settings.queues, architectures=frozenset(architectures))
        self._capacity = (
            capacity
            if device is None
            else replace(
                capacity,
                kind=device.kind,
                count=device.count,
                bfloat16=device.bfloat16,
                memory_bytes=device.memory_bytes,
            )
        )
        self._inputs = Inputs(engine, storage, settings)
        self._exchange = StoreExchange(storage, folder(settings.work_dir), settings.shared_store_max_bytes)

    def run(self) -> None:
        """Handles a wake-up message: claims and runs the next job in scheduling order, which may be another one."""
        if self._draining.is_set():
            return
        try:
            claimed = self._claim()
        except DATABASE_UNAVAILABLE as error:
            logger.warning("nothing claimed: %s; the dispatcher will notify again", describe_error(error))
            metrics.WAKE_UPS.labels("database_unavailable").inc()
            return
        except Exception as error:
            metrics.WAKE_UPS.labels("error").inc()
            self._on_error(f"Claiming a job failed: {_summary(error)}")
            raise
        self._on_error(None)
        metrics.WAKE_UPS.labels("nothing" if claimed is None else "claimed").inc()
        if claimed is None:
            logger.info("no queued job for this worker")
            return
        lease = claimed.lease
        ids: dict[str, str | int] = {"job_id": lease.job_id, "attempt": lease.epoch, "worker_id": self._worker_id}
        attributes: dict[str, str | int] = {f"ttm.{name}": value for name, value in ids.items()}
        with (
            structlog.contextvars.bound_contextvars(**ids),
            traces.span("attempt", parent=claimed.traceparent, **attributes),
        ):
            self._run(claimed)

    def _run(self, claimed: _Claimed) -> None:
        self._on_job(claimed.lease.job_id)
        try:
            with metrics.BUSY.track_inprogress(), metrics.ATTEMPT_SECONDS.time():
                self._run_attempt(claimed)
        except LeaseLost:
            metrics.ATTEMPTS.labels("lost").inc()
            logger.warning("the lease was lost; nothing was written")
        except Exception as error:
            self._on_error(f"Running a job failed: {_summary(error)}")
            raise
        finally:
            self._on_job(None)
            if not self._draining.is_set():
                self._starter.prepare()

    def _claim(self) -> _Claimed | None:
        with session_scope(self._engine) as session:
            duration = timedelta(seconds=self._settings.lease_seconds)
            lease = leases.claim_next(session, self._worker_id, duration=duration, capacity=self._capacity)
            if lease is None:
                return None
            job = crud.get(session, lease.job_id)
            spec, checkpoints = job.resolved_spec or job.spec, recording.checkpoints(session, job.id)
            # As of now: an administrator may have restricted the project since the submission.
            allowed = projects.allowed_sources(session, job.project_id, self._settings)
            options = run_options(session, job, needs_gpu=self._capacity.kind == "cuda")
            return _Claimed(lease, spec, checkpoints, allowed, options, job.traceparent)

    def _run_attempt(self, claimed: _Claimed) -> None:
        settings, lease = self._settings, claimed.lease
        workdir = attempt_directory(settings.work_dir, lease.job_id, lease.epoch)
        log = LogFile(workdir / "trainer.log", settings.max_log_bytes)
        recorder = Recorder(self._engine, self._storage, lease, workdir)
        heartbeat = Heartbeat(self._engine, lease, duration=settings.lease_seconds, interval=settings.heartbeat_seconds)
        stop_requests = StopRequests(heartbeat, self._draining)
        attempt = Attempt(
            settings,
            self._storage,
            self._inputs,
            trainer=Trainer(self._starter, workdir, log=log, memory_bytes=trainer_limit(self._settings)),
            workdir=workdir,
            recorder=recorder,
            heartbeat=heartbeat,
            stop_requests=stop_requests,
            exchange=self._exchange,
        )
        try:
            with heartbeat:
                with LiveLog(self._engine, self._storage, lease, log, interval=settings.log_upload_seconds):
                    outcome = attempt.run(claimed.spec, claimed.checkpoints, claimed.allowed, claimed.options)
                finalizer = Finalizer(self._engine, self._storage, settings, lease, recorder, heartbeat, stop_requests)
                with traces.span("publish"):
                    state = finalizer.finalize(outcome, workdir, log, attempt.stores)
        finally:
            remove_attempt(workdir)
        metrics.ATTEMPTS.labels(_NAMES[type(outcome)]).inc()
        if self._exchange.on:
            for digest in attempt.stores:
                self._exchange.publish(digest)
        logger.info("attempt %s, now the job is %s", _NAMES[type(outcome)], state)
        if isinstance(outcome, Broken) and outcome.failure.code == DeviceUnavailable.code:
            # Every other job would fail, too. A worker that starts again checks its GPUs.
            logger.error("this worker stops: %s", outcome.failure.message)
            self._leave()


def _summary(error: Exception) -> str:
    """What the users of all projects may see of an error. Its paths and values may be those of one project."""
    match error:
        case DBAPIError(orig=BaseException() as cause):
            # Without the statement, its parameters and the rows that it names.
            first, _, _ = str(cause).partition("\n")
            text = f"{type(cause).__name__}: {first}"
        case OSError(strerror=str(reason)):
            text = f"{type(error).__name__}: {reason}"
        case _:
            text = f"{type(error).__name__}, which the worker's log describes"
    return text[:_MAX_ERROR]
