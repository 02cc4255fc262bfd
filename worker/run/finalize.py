"""Records the outcome of an attempt in the database: artifacts are published first, then one transaction."""

import json
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import assert_never

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, describe_error, session_scope
from ttm_jobs.errors import LeaseLost, ServiceError
from ttm_jobs.models import Job
from ttm_jobs.repositories import tracking
from ttm_jobs.repositories.jobs import leases, lifecycle
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.run_data import artifacts, teacher_stores
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from ttm_jobs.storage import Storage
from ttm_jobs.studies.facts import JobKind
from worker.files import is_full_disk
from worker.retry import retry_storage
from worker.run.heartbeat import Heartbeat
from worker.run.outcomes import (
    Broken,
    Outcome,
    ReachedEpoch,
    Rejected,
    Released,
    StageSucceeded,
    Succeeded,
    broken,
    stopped,
)
from worker.run.publish import delete_objects, publish_artifacts, publish_log
from worker.run.recorder import Recorder
from worker.run.stop_requests import StopRequested, StopRequests
from worker.trainer.log import LogFile

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5


class Finalizer:
    """The end of one attempt, under its lease."""

    def __init__(
        self,
        engine: Engine,
        storage: Storage,
        settings: Settings,
        lease: Lease,
        recorder: Recorder,
        heartbeat: Heartbeat,
        stop_requests: StopRequests,
    ) -> None:
        self._engine = engine
        self._storage = storage
        self._settings = settings
        self._lease = lease
        self._recorder = recorder
        self._heartbeat = heartbeat
        self._stop_requests = stop_requests
        self._unsure = False

    def finalize(self, outcome: Outcome, workdir: Path, log: LogFile, stores: Sequence[str] = ()) -> JobState:
        """Publish the files of an attempt and record its outcome.

        Args:
            stores: digests of the teacher stores that the trainer used.

        Returns:
            The new state of the job.

        Raises:
            LeaseLost: another worker has the job. The attempt's files are deleted from storage.
        """
        # Publishing may take long; the database shows the trainer's latest events in the meantime.
        with suppress(*DATABASE_UNAVAILABLE):
            self._flush()
        outcome, files = self._publish(outcome, workdir)
        logs = self._publish_log(log)
        try:
            state, obsolete = self._record(outcome, files, logs, stores)
        except LeaseLost:
            # The commit may have succeeded although the connection was lost. The files are kept then.
            if not self._unsure:
                delete_objects(self._storage, [file.key for file in (*files, *logs)])
            raise
        if state is not JobState.SUCCEEDED:
            obsolete += [file.key for file in files]
        delete_objects(self._storage, obsolete)
        return state

    def _publish(self, outcome: Outcome, workdir: Path) -> tuple[Outcome, list[PublishedFile]]:
        match outcome:
            case Succeeded(result):
                made, with_student = result.artifacts, True
            case StageSucceeded(stage):
                made, with_student = stage.artifacts, False
            case _:
                return outcome, []
        try:
            published = retry_storage(
                lambda: publish_artifacts(self._storage, self._lease, workdir, made, with_student=with_student),
                seconds=self._settings.storage_retry_seconds,
                check=self._stop_requests.check,
            )
            return outcome, published
        except StopRequested as request:
            return stopped(request.reason), []
        except ServiceError as error:
            return broken(error.code, error.message), []
        except OSError as error:
            code = "storage_full" if is_full_disk(error) else "publish_failed"
            return broken(code, f"The student could not be stored: {error}."), []
        except ValueError as error:
            return broken("publish_failed", f"The trainer's output is invalid: {error}."), []

    def _publish_log(self, log: LogFile) -> list[PublishedFile]:
        try:
            return [publish_log(self._storage, self._lease, log)]
        except (ServiceError, OSError) as error:
            # A missing log does not fail the job.
            logger.warning("the log of job %s could not be stored: %s", self._lease.job_id, error)
            return []

    def _record(
        self,
        outcome: Outcome,
        files: Sequence[PublishedFile],
        logs: Sequence[PublishedFile],
        stores: Sequence[str],
    ) -> tuple[JobState, list[str]]:
        """Records the outcome. Returns the new state and the keys of replaced logs."""
        while True:
            try:
                self._flush()
                with session_scope(self._engine) as session:
                    job = leases.fence(session, self._lease)
                    replaced = artifacts.record(session, job, logs)
                    _record_stores(session, job, stores, outcome)
                    state = self._end(session, job, outcome, files)
                    if self._settings.mlflow_tracking_uri is not None and job.kind is JobKind.DISTILL:
                        tracking.enqueue(session, job)
                    return state, replaced
            except DATABASE_UNAVAILABLE as error:
                self._unsure = True
                # After twice the lease duration, another worker has claimed the job.
                if self._heartbeat.seconds_since_confirmed > 2 * self._settings.lease_seconds:
                    raise LeaseLost("The database was unavailable for longer than the lease.") from error
                logger.warning(
                    "the outcome of job %s waits for the database: %s", self._lease.job_id, describe_error(error)
                )
                time.sleep(_RETRY_SECONDS)

    def _flush(self) -> None:
        try:
            self._recorder.flush()
        except (LeaseLost, *DATABASE_UNAVAILABLE):
            raise
        except Exception:
            # The outcome must be recorded even if an event cannot be written.
            logger.exception("the last events of job %s were dropped", self._lease.job_id)
            self._recorder.discard()

    def _end(self, session: Session, job: Job, outcome: Outcome, files: Sequence[PublishedFile]) -> JobState:
        match outcome:
            case Succeeded():
                # Through JSON text, where non-finite numbers become null.
                result = json.loads(outcome.result.model_dump_json(exclude={"artifacts"}))
                return lifecycle.succeeded(session, job, result=result, files=files)
            case StageSucceeded():
                return lifecycle.stage_succeeded(session, job, files=files)
            case ReachedEpoch():
                return lifecycle.paused_after_epoch(session, job, outcome.epoch, outcome.accuracy)
            case Rejected():
                return lifecycle.failed(session, job, outcome.failure)
            case Released():
                return lifecycle.released(session, job, reason=outcome.reason)
            case Broken():
                backoff = timedelta(seconds=self._settings.retry_backoff_seconds)
                return lifecycle.attempt_failed(session, job, outcome.failure, backoff=backoff)
            case _:
                assert_never(outcome)


def _record_stores(session: Session, job: Job, stores: Sequence[str], outcome: Outcome) -> None:
    match outcome:
        case Succeeded(result):
            cache_hits, forwards = result.teacher_cache_hits or 0, result.teacher_forwards or 0
        case StageSucceeded(stage):
            cache_hits, forwards = stage.teacher_cache_hits or 0, stage.teacher_forwards or 0
        case _:
            cache_hits = forwards = 0
    teacher_stores.used(session, job, stores, cache_hits=cache_hits, forwards=forwards)
