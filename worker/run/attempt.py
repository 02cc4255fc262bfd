"""One attempt of a job: prepares the work directory and supervises the trainer."""

import json
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread

from pydantic import ValidationError

from ttm_core.spec.events import (
    Event,
    Failed,
    Finished,
    Metrics,
    PhaseChanged,
    Progress,
    Resolved,
    StageFinished,
    Stopped,
    StoreRequested,
)
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.study.run_options import DEFAULT_OPTIONS, RunOptions
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, describe_error
from ttm_jobs.errors import ChecksumMismatch, FetchStopped, LeaseLost, ObjectNotFound, ServiceError
from ttm_jobs.models import Checkpoint
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.jobs.lifecycle import Failure
from ttm_jobs.settings import Settings
from ttm_jobs.sources import AllowedSources
from ttm_jobs.storage import Storage
from ttm_jobs.telemetry import traces
from worker import metrics
from worker.files import inside, is_full_disk, write_atomically
from worker.inputs import Inputs, Paths
from worker.retry import retry_storage
from worker.run.heartbeat import Heartbeat
from worker.run.outcomes import Broken, Outcome, Rejected, broken, outcome_of, stopped, too_large
from worker.run.recorder import Recorder
from worker.run.stop_requests import StopRequested, StopRequests
from worker.teacher_stores.exchange import StoreExchange
from worker.teacher_stores.report import folder
from worker.trainer import resources
from worker.trainer.process import Exited, Trainer
from worker.trainer.resources import Usage, export_processes, trainer_limit

logger = logging.getLogger(__name__)


class Attempt:
    """Runs a trainer in its own work directory while the heartbeat extends the lease."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        inputs: Inputs,
        *,
        trainer: Trainer,
        workdir: Path,
        recorder: Recorder,
        heartbeat: Heartbeat,
        stop_requests: StopRequests,
        exchange: StoreExchange,
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._inputs = inputs
        self._trainer = trainer
        self._workdir = workdir
        self._recorder = recorder
        self._heartbeat = heartbeat
        self._stop_requests = stop_requests
        self._exchange = exchange
        # Digests of the teacher stores that the trainer uses.
        self.stores: Sequence[str] = ()
        self._store_fetches: list[Thread] = []
        self._usage = Usage()
        self._phases = traces.Phases()

    def run(
        self,
        spec: Json,
        checkpoints: Sequence[Checkpoint],
        allowed: AllowedSources,
        options: RunOptions = DEFAULT_OPTIONS,
    ) -> Outcome:
        """Runs the attempt and returns its outcome. Raises LeaseLost, after killing the trainer."""
        try:
            try:
                inputs = self._prepare(spec, checkpoints, allowed, options)
                self._trainer.start(network=inputs["needs_network"], data_roots=allowed.restricted_roots())
                metrics.TRAINER_MEMORY.set_function(lambda: resources.held_by_group(self._trainer.pid))
                return self._follow()
            finally:
                self._trainer.end()
                self._inputs.release()
                self._phases.end()
                metrics.TRAINER_MEMORY.set_function(lambda: 0.0)
                metrics.IMAGES_PER_SECOND.set(0)
                metrics.DATA_WAIT.set(0)
        except LeaseLost:
            raise
        except StopRequested as request:
            return stopped(request.reason)
        except ValidationError as error:
            return Rejected(Failure("invalid_spec", str(error), origin="user", retryable=False))
        except (ChecksumMismatch, ObjectNotFound) as error:
            # The database refers to an object that the storage lacks: not the user's fault.
            return broken(error.code, error.message)
        except ServiceError as error:
            # URIs were checked when the job was submitted; their targets may have disappeared since.
            if error.status < 500:
                return Rejected(Failure(error.code, error.message, origin="user", retryable=False))
            return broken(error.code, error.message)
        except OSError as error:
            if is_full_disk(error):
                return broken("storage_full", f"The worker cannot write to its disk: {error.strerror}.")
            return self._worker_error(error)
        except Exception as error:
            return self._worker_error(error)

    def _worker_error(self, error: Exception) -> Broken:
        logger.exception("the worker could not run an attempt")
        return broken("worker_error", f"The worker could not run the job: {type(error).__name__}: {error}.")

    def _prepare(
        self, spec: Json, checkpoints: Sequence[Checkpoint], allowed: AllowedSources, options: RunOptions
    ) -> Paths:
        self._phases.next("fetching")
        self._recorder.add(PhaseChanged(phase="fetching"))
        self._record()
        try:
            inputs = self._inputs.resolve(DistillSpec.model_validate(spec), allowed, self._stop_requests.is_set)
        except FetchStopped:
            self._stop_requests.check()
            raise
        self._workdir.mkdir(parents=True)
        self._answers.mkdir()
        cache = (self._settings.work_dir / "screens").resolve()
        of_machine = {"screen_cache": cache, "processes": export_processes(self._settings)}
        asked = options.model_copy(update=of_machine).model_dump(mode="json")
        run = {"spec": spec, "inputs": inputs, "stores": self._stores(), "options": asked}
        (self._workdir / "run.json").write_text(json.dumps(run))
        self._restore(checkpoints)
        return inputs

    @property
    def _answers(self) -> Path:
        return self._workdir / "answers"

    def _stores(self) -> Json:
        settings = self._settings
        return {
            "answers": str(self._answers.resolve()) if self._exchange.on else None,
            "root": str(folder(settings.work_dir)),
            "max_bytes": settings.teacher_store_max_bytes,
        }

    def _restore(self, checkpoints: Sequence[Checkpoint]) -> None:
        for checkpoint in checkpoints:
            try:
                retry_storage(
                    partial(self._fetch, checkpoint),
                    seconds=self._settings.storage_retry_seconds,
                    check=self._stop_requests.check,
                )
                return
            except (ObjectNotFound, ChecksumMismatch) as error:
                logger.warning("checkpoint of step %d is unusable: %s", checkpoint.step, error.message)

    def _fetch(self, checkpoint: Checkpoint) -> None:
        path = inside(self._workdir, checkpoint.path)
        write_atomically(path, self._stop_requests.until_stopped(self._storage.open(checkpoint.key)), checkpoint.sha256)

    def _follow(self) -> Outcome:
        last: Finished | StageFinished | Stopped | Failed | None = None
        stop_reason: str | None = None
        kill_at = float("inf")
        started = last_event = last_flush = time.monotonic()
        oom_kills = resources.oom_kills()
        while True:
            item = self._trainer.next(timeout=self._settings.event_flush_seconds)
            time_now = time.monotonic()
            match item:
                case None:
                    pass
                case Exited() if last is None and self._trainer.exceeded is not None:
                    return too_large(self._trainer.exceeded, trainer_limit(self._settings))
                case Exited():
                    oom_killed = resources.oom_kills() != oom_kills
                    return outcome_of(
                        last, item.returncode, stop_reason or self._stop_requests.reason(), oom_killed=oom_killed
                    )
                case Finished() | StageFinished() | Stopped() | Failed():
                    last = item
                    # After its final event, the trainer must exit.
                    kill_at = min(kill_at, time_now + self._settings.stop_grace_seconds)
                case StoreRequested(digest=digest):
                    last_event = time_now
                    # In a thread: fetching takes time, and stop requests and the lease must be handled meanwhile.
                    fetch = Thread(target=self._fetch_store, args=[digest], daemon=True)
                    self._store_fetches.append(fetch)
                    fetch.start()
                case Metrics():
                    usage = self._usage.sample(self._trainer.pid)
                    self._recorder.add(item.model_copy(update={"values": {**item.values, **usage}}))
                    last_event = time_now
                case _:
                    if isinstance(item, Resolved):
                        self.stores = item.teacher_stores
                    if isinstance(item, PhaseChanged):
                        self._phases.next(item.phase)
                    _measure(item)
                    self._recorder.add(item)
                    last_event = time_now
            if time_now - last_flush >= self._settings.event_flush_seconds:
                self._record()
                last_flush = time_now
            if self._heartbeat.fenced:
                raise LeaseLost
            if (
                stop_reason is None
                and (stop_reason := self._stop_requests.reason() or self._time_limit(time_now - started)) is not None
            ):
                self._trainer.stop()
                kill_at = time_now + self._settings.stop_grace_seconds
            if time_now > kill_at:
                self._trainer.kill()
                kill_at = float("inf")
            if any(fetch.is_alive() for fetch in self._store_fetches):
                last_event = time_now  # the trainer waits for the store
            if time_now - last_event > self._settings.progress_timeout_seconds:
                return broken("trainer_stalled", f"The trainer reported nothing for {time_now - last_event:.0f} s.")

    def _fetch_store(self, digest: str) -> None:
        try:
            self._exchange.fetch(digest)
        finally:
            with suppress(OSError):  # the attempt may have ended
                (self._answers / digest).touch()

    def _time_limit(self, seconds: float) -> str | None:
        return "time_limit_exceeded" if seconds > self._settings.trainer_timeout_seconds else None

    def _record(self) -> None:
        try:
            state = self._recorder.flush()
        except DATABASE_UNAVAILABLE as error:
            logger.warning("events are buffered until the database is available: %s", describe_error(error))
        else:
            self._heartbeat.state = state or self._heartbeat.state


def _measure(event: Event) -> None:
    match event:
        case Progress():
            metrics.IMAGES_PER_SECOND.set(event.images_per_second)
        case Metrics(values={"train/data_wait_share": share}):
            metrics.DATA_WAIT.set(share)
        case _:
            pass
