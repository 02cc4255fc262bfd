"""Runs the dispatcher: sends wake-up messages and webhooks, requeues jobs of lost workers, advances studies, cleans up
the storage.

Any number of dispatchers may run.
"""

import logging
import signal
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event as Flag
from threading import Thread

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from ttm_jobs.broker.notifier import BrokerUnavailable, CeleryNotifier, Notifier
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, create_engine, describe_error, read_scope, session_scope
from ttm_jobs.models import Job
from ttm_jobs.processes import make_files_private
from ttm_jobs.repositories import outbox, tracking, workers
from ttm_jobs.repositories.jobs import crud, leases, lifecycle
from ttm_jobs.repositories.jobs.transitions import WAKE_UP
from ttm_jobs.repositories.run_data import teacher_stores
from ttm_jobs.settings import Settings, get_settings
from ttm_jobs.storage import build_storage
from ttm_jobs.telemetry import logs
from worker import metrics
from worker.background import run_until
from worker.dispatcher.collector import Collector
from worker.dispatcher.mlflow import Exporter
from worker.dispatcher.studies import StudyScheduler
from worker.dispatcher.webhooks import WebhookSender
from worker.presence import Presence

logger = logging.getLogger(__name__)

_BATCH = 100
# Retry interval of messages that failed, or that a dispatcher was handling when it died.
_RETRY_AFTER = timedelta(seconds=5)
# Store reports outlive a worker's restart.
_STORE_REPORT_AGE = timedelta(days=1)


class Dispatcher:
    """Sends wake-up messages, advances studies and reaps jobs. Several processes may do both concurrently."""

    def __init__(self, settings: Settings, engine: Engine, notifier: Notifier) -> None:
        self._settings = settings
        self._engine = engine
        self._notifier = notifier
        self._studies = StudyScheduler(engine)
        self._reaped_at: datetime | None = None
        self._no_expiry_until = datetime.min.replace(tzinfo=UTC)

    def dispatch(self) -> int:
        """Sends due wake-up messages. Returns the number that the broker accepted."""
        with read_scope(self._engine) as session:
            if not outbox.any_due(session, WAKE_UP):
                return 0
        with session_scope(self._engine) as session:
            messages = outbox.take(session, WAKE_UP, limit=_BATCH, again_after=_RETRY_AFTER)
        sent = []
        try:
            for message in messages:
                payload = message.payload
                self._notifier.notify(payload["job_id"], priority=payload["priority"], queue=payload["queue"])
                sent.append(message.id)
        except BrokerUnavailable as error:
            # The rest of the batch would fail as well.
            logger.warning("the broker does not accept messages: %s", error.message)
            metrics.DISPATCHED.labels("refused").inc()
        metrics.DISPATCHED.labels("taken").inc(len(sent))
        with session_scope(self._engine) as session:
            outbox.delivered(session, sent)
        return len(sent)

    def reap(self) -> None:
        """Requeues jobs of unresponsive workers, fails jobs past their deadline, and repeats lost wake-up messages."""
        worker_timeout = timedelta(seconds=self._settings.worker_timeout_seconds)
        with session_scope(self._engine) as session:
            backoff = timedelta(seconds=self._settings.retry_backoff_seconds)
            if self._may_expire_leases(now(session)):
                for job in leases.expire(session, backoff=backoff):
                    logger.warning("job %s: its worker stopped responding, now %s", job.id, job.state)
                    metrics.REAPED.labels("lease").inc()
                    self._enqueue_export(session, job)
            for job in lifecycle.expire_deadlines(session):
                logger.warning("job %s: its deadline has passed", job.id)
                metrics.REAPED.labels("deadline").inc()
                self._enqueue_export(session, job)
            # Only for idle workers: busy ones receive their messages later.
            after = timedelta(seconds=self._settings.renotify_seconds)
            for queue, idle in workers.idle_by_queue(session, within=worker_timeout).items():
                for job in crud.renotify_queued(session, after=after, limit=idle, queue=queue):
                    logger.info("job %s: notified again", job.id)
                    metrics.RENOTIFIED.inc()
            workers.delete_unresponsive(session, unresponsive_for=10 * worker_timeout)
            teacher_stores.delete_unreported(session, older_than=_STORE_REPORT_AGE)

    def _may_expire_leases(self, at: datetime) -> bool:
        """Whether workers had time to extend their leases since the service last paused.

        After the machine was suspended, the database was unavailable or its clock jumped, the leases of all workers may
        have expired, and this process may be the first to run. A pause is half a lease without a call; workers then
        have as long, which are two heartbeats.
        """
        half = timedelta(seconds=self._settings.lease_seconds / 2)
        last, self._reaped_at = self._reaped_at, at
        # Not twice in a row: calls that are always so rare must expire leases as well.
        if last is not None and at - last > half and self._no_expiry_until <= last:
            self._no_expiry_until = at + half
            logger.warning(
                "nothing was done for %.0f s; leases may expire again in %.0f s",
                (at - last).total_seconds(),
                half.total_seconds(),
            )
        # The clock may be set back within the pause, for example after the machine was suspended.
        self._no_expiry_until = min(self._no_expiry_until, at + half)
        return self._no_expiry_until <= at

    def _enqueue_export(self, session: Session, job: Job) -> None:
        if self._settings.mlflow_tracking_uri is not None:
            tracking.enqueue(session, job)

    def serve(self, stop: Flag) -> None:
        """Runs until `stop` is set. Waits while the database is unavailable."""
        reap_at = 0.0
        while not stop.wait(self._settings.dispatch_interval_seconds):
            try:
                self._studies.advance_due()
                while self.dispatch() == _BATCH and not stop.is_set():
                    pass
                if time.monotonic() >= reap_at:
                    self.reap()
                    metrics.ROUND.set_to_current_time()
                    reap_at = time.monotonic() + self._settings.reap_interval_seconds
            except DATABASE_UNAVAILABLE as error:
                logger.warning("the database is unavailable: %s", describe_error(error))
                stop.wait(1.0)


def main() -> None:
    make_files_private()
    logs.configure_stdlib()
    settings = get_settings()
    stop = Flag()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    metrics.serve(settings, metrics.DISPATCHER)
    engine = create_engine(
        settings.database_url, settings.secret_key_file, settings.project_limits(settings.storage_url)
    )
    notifier = CeleryNotifier(settings.broker_url, settings.queue_name)
    storage = build_storage(settings.storage_url, settings.s3)
    # Separate threads: a large storage or a slow receiver must not delay wake-up messages.
    services = {
        "collector": Collector(settings, engine, storage).serve,
        "webhooks": WebhookSender(settings, engine).serve,
    }
    if settings.mlflow_tracking_uri is not None:
        services["mlflow"] = Exporter(settings, engine, storage).serve
    for name, serve in services.items():
        Thread(target=run_until, args=[stop, partial(serve, stop), name], name=name, daemon=True).start()
    with Presence(engine, "dispatcher", interval=settings.worker_timeout_seconds / 4):
        Dispatcher(settings, engine, notifier).serve(stop)
    engine.dispose()
