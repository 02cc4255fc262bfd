"""Tells the record how an attempt ended: publish first, then one transaction."""

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

from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, session_scope
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
from worker.files import is_full_disk
from worker.retry import retry_storage
from worker.run.heartbeat import Heartbeat
from worker.run.outcomes import Broken, Outcome, Rejected, Released, Succeeded, broken, stopped
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

    def settle(self, outcome: Outcome, workdir: Path, log: LogFile, stores: Sequence[str] = ()) -> JobState:
        """The state that the job has now. `stores` are the digests of those that the trainer had open.

        LeaseLost if another was faster: then nothing of ours stays in storage.
        """
        # The storage may be long in taking the files: until then the record shows all that the trainer told.
        with suppress(*DATABASE_UNAVAILABLE):
            self._flush()
        outcome, files = self._publish(outcome, workdir)
        logs = self._publish_log(log)
        try:
            state, obsolete = self._tell(outcome, files, logs, stores)
        except LeaseLost:
            # A commit whose answer was lost may have named them after all: they stay then.
            if not self._unsure:
                delete_objects(self._storage, [file.key for file in (*files, *logs)])
            raise
        if state is not JobState.SUCCEEDED:
            obsolete += [file.key for file in files]
        delete_objects(self._storage, obsolete)
        return state

    def _publish(self, outcome: Outcome, workdir: Path) -> tuple[Outcome, list[PublishedFile]]:
        if not isinstance(outcome, Succeeded):
            return outcome, []
        try:
            made = outcome.result.artifacts
            published = retry_storage(
                lambda: publish_artifacts(self._storage, self._lease, workdir, made),
                seconds=self._settings.storage_retry_seconds,
                check=self._stop_requests.check,
            )
            return outcome, published
        except StopRequested as unwanted:
            return stopped(unwanted.reason), []
        except ServiceError as error:
            return broken(error.code, error.message), []
        except OSError as error:
            code = "storage_full" if is_full_disk(error) else "publish_failed"
            return broken(code, f"The student could not be stored: {error}."), []
        except ValueError as error:
            return broken("publish_failed", f"What the trainer made is not what it should be: {error}."), []

    def _publish_log(self, log: LogFile) -> list[PublishedFile]:
        try:
            return [publish_log(self._storage, self._lease, log)]
        except (ServiceError, OSError) as error:
            # A job does not fail for want of its log.
            logger.warning("the log of job %s could not be stored: %s", self._lease.job_id, error)
            return []

    def _tell(
        self,
        outcome: Outcome,
        files: Sequence[PublishedFile],
        logs: Sequence[PublishedFile],
        stores: Sequence[str],
    ) -> tuple[JobState, list[str]]:
        """The new state, and the keys of the logs that no row names any more."""
        while True:
            try:
                self._flush()
                with session_scope(self._engine) as session:
                    job = leases.fence(session, self._lease)
                    replaced = artifacts.record(session, job, logs)
                    _record_stores(session, job, stores, outcome)
                    state = self._end(session, job, outcome, files)
                    if self._settings.mlflow_tracking_uri is not None:
                        tracking.enqueue(session, job)
                    return state, replaced
            except DATABASE_UNAVAILABLE as error:
                self._unsure = True
                # Once the lease has been out for as long again, somebody else has surely taken the job.
                if self._heartbeat.silent_for > 2 * self._settings.lease_seconds:
                    raise LeaseLost("The database stayed away.") from error
                logger.warning("the end of job %s waits for the database", self._lease.job_id)
                time.sleep(_RETRY_SECONDS)

    def _flush(self) -> None:
        try:
            self._recorder.flush()
        except (LeaseLost, *DATABASE_UNAVAILABLE):
            raise
        except Exception:
            # An end must be told, whatever it was that could not be written on the way to it.
            logger.exception("the last events of job %s are dropped", self._lease.job_id)
            self._recorder.discard()

    def _end(self, session: Session, job: Job, outcome: Outcome, files: Sequence[PublishedFile]) -> JobState:
        match outcome:
            case Succeeded():
                # By way of text, in which a number that is not finite is null.
                result = json.loads(outcome.result.model_dump_json(exclude={"artifacts"}))
                return lifecycle.succeeded(session, job, result=result, files=files)
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
    result = outcome.result if isinstance(outcome, Succeeded) else None
    hits = (result and result.teacher_cache_hits) or 0
    filled = (result and result.teacher_forwards) or 0
    teacher_stores.used(session, job, stores, cache_hits=hits, forwards=filled)
