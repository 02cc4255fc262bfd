"""Exports jobs that have ended to MLflow, one run each, from messages in the outbox. Nothing else waits for it."""

import logging
import re
from datetime import timedelta
from threading import Event as Flag

from sqlalchemy import Engine

from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, describe_error, read_scope, session_scope
from ttm_jobs.errors import JobNotFound, ObjectNotFound, ServiceError
from ttm_jobs.models import OutboxMessage
from ttm_jobs.repositories import outbox, tracking
from ttm_jobs.repositories.webhooks.sending import RetryPolicy
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage
from worker import metrics
from worker.dispatcher.mlflow.run import JOB_TAG, Run, read
from worker.dispatcher.mlflow.server import MlflowServer, chunks_of

logger = logging.getLogger(__name__)

# An export whose process has died is repeated after this time. Uploading a large student takes minutes.
_RETRY_AFTER = timedelta(minutes=30)
_ENDED = frozenset({"FINISHED", "FAILED", "KILLED"})


class Exporter:
    """Exports the jobs of due messages. Any number of processes may export at once."""

    def __init__(self, settings: Settings, engine: Engine, storage: Storage) -> None:
        assert settings.mlflow_tracking_uri is not None
        self._settings = settings
        self._engine = engine
        self._storage = storage
        self._server = MlflowServer(settings.mlflow_tracking_uri, settings.mlflow_token)
        retry = timedelta(seconds=settings.mlflow_retry_seconds)
        self._policy = RetryPolicy(first=retry, give_up_after=timedelta.max)

    def serve(self, stop: Flag) -> None:
        """Runs until `stop` is set."""
        while not stop.wait(self._settings.dispatch_interval_seconds):
            try:
                while self.export_one() and not stop.is_set():
                    pass
            except DATABASE_UNAVAILABLE as error:
                logger.warning("MLflow waits for the database: %s", describe_error(error))
                stop.wait(1.0)
        self._server.close()

    def export_one(self) -> bool:
        """Exports one due job. Returns False if there is none."""
        with read_scope(self._engine) as session:
            if not outbox.any_due(session, tracking.TOPIC):
                return False
        with session_scope(self._engine) as session:
            messages = outbox.take(session, tracking.TOPIC, limit=1, again_after=_RETRY_AFTER)
        for message in messages:
            self._export(message)
        return bool(messages)

    def _export(self, message: OutboxMessage) -> None:
        job_id = message.payload["job_id"]
        try:
            with read_scope(self._engine) as session:
                run = read(session, job_id)
            if run is not None:
                self._send(run)
        except JobNotFound:
            logger.info("job %s was deleted before its export to MLflow", job_id)
        except DATABASE_UNAVAILABLE:
            raise
        except Exception as error:
            self._failed(message, error)
            return
        else:
            metrics.MLFLOW.labels("exported").inc()
        with session_scope(self._engine) as session:
            outbox.delivered(session, [message.id])

    def _failed(self, message: OutboxMessage, error: Exception) -> None:
        known = isinstance(error, ServiceError | OSError)
        given_up = message.attempts >= self._policy.attempts
        logger.warning(
            "export of job %s to MLflow failed, attempt %d of %d: %s",
            message.payload["job_id"],
            message.attempts,
            self._policy.attempts,
            error,
            exc_info=None if known else error,
        )
        metrics.MLFLOW.labels("given_up" if given_up else "failed").inc()
        with session_scope(self._engine) as session:
            if given_up:
                outbox.delivered(session, [message.id])
            else:
                outbox.postpone(session, message.id, now(session) + self._policy.delay(message.attempts))

    def _send(self, run: Run) -> None:
        """Exports a run in resumable order: the end of the run is sent last."""
        experiment = self._server.experiment(self._settings.mlflow_experiment)
        found = self._server.run_of(experiment, JOB_TAG, run.job_id)
        if found is not None and found["info"]["status"] in _ENDED:
            return
        known = found or self._server.create_run(experiment, run.name, start=run.start, tags=run.tags)
        run_id, artifact_uri = known["info"]["run_id"], known["info"]["artifact_uri"]
        self._server.log(run_id, run.params, run.metrics)
        # Without --serve-artifacts, MLflow expects clients to write to its store.
        if self._settings.mlflow_artifacts and artifact_uri.startswith("mlflow-artifacts:"):
            self._send_files(run, run_id, artifact_uri)
        self._server.end(run_id, status=run.status, at=run.end)

    def _send_files(self, run: Run, run_id: str, artifact_uri: str) -> None:
        for file in run.files:
            try:
                content = self._storage.open(file.key)
            except ObjectNotFound:
                # Deleted by retention; the run has its hash.
                continue
            self._server.upload(artifact_uri, file.path, content)
        if run.model is None:
            return
        self._server.upload(artifact_uri, "student/MLmodel", chunks_of(run.model))
        # Model names must not contain slashes and colons.
        model = re.sub(r"[/:]", "-", f"{self._settings.mlflow_experiment}-{run.architecture}")
        self._server.register(model, run_id, f"{artifact_uri}/student", {JOB_TAG: run.job_id})
