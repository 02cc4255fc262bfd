"""Runs the dispatcher: sends wake-up messages and webhooks, requeues jobs of lost workers, cleans up the storage.

Any number of dispatchers may run.
"""

import logging
import signal
import time
from datetime import timedelta
from threading import Event as Flag
from threading import Thread

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from ttm_jobs.broker.notifier import BrokerUnavailable, CeleryNotifier, Notifier
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, create_engine, read_scope, session_scope
from ttm_jobs.models import Job
from ttm_jobs.repositories import outbox, tracking, workers
from ttm_jobs.repositories.jobs import crud, leases, lifecycle
from ttm_jobs.repositories.jobs.transitions import WAKE_UP
from ttm_jobs.repositories.run_data import teacher_stores
from ttm_jobs.settings import DEFAULT_QUEUE, Settings, get_settings
from ttm_jobs.storage import build_storage
from ttm_jobs.telemetry import logs
from worker import metrics
from worker.dispatcher.collector import Collector
from worker.dispatcher.mlflow import Exporter
from worker.dispatcher.webhooks import WebhookSender
from worker.presence import Presence

logger = logging.getLogger(__name__)

_BATCH = 100
# A ring that failed is tried again after this, and so is one whose dispatcher died with it in hand.
_AGAIN_AFTER = timedelta(seconds=5)
# A disk outlives its worker's restart.
_STORES_SEEN = timedelta(days=1)


class Dispatcher:
    """The two duties, each of which may be done by several processes at once."""

    def __init__(self, settings: Settings, engine: Engine, notifier: Notifier) -> None:
        self._settings = settings
        self._engine = engine
        self._notifier = notifier

    def dispatch(self) -> int:
        """Rings what is due. Returns how many rings the broker took."""
        with read_scope(self._engine) as session:
            if not outbox.any_due(session, WAKE_UP):
                return 0
        with session_scope(self._engine) as session:
            messages = outbox.take(session, WAKE_UP, limit=_BATCH, again_after=_AGAIN_AFTER)
        rung = []
        try:
            for message in messages:
                ring = message.payload
                # A ring that is owed since before there were queues names none.
                queue = ring.get("queue", DEFAULT_QUEUE)
                self._notifier.notify(ring["job_id"], priority=ring["priority"], queue=queue)
                rung.append(message.id)
        except BrokerUnavailable as error:
            # The others of this batch would wait for the same broker.
            logger.warning("the broker does not take rings: %s", error.message)
            metrics.DISPATCHED.labels("refused").inc()
        metrics.DISPATCHED.labels("taken").inc(len(rung))
        with session_scope(self._engine) as session:
            outbox.delivered(session, rung)
        return len(rung)

    def reap(self) -> None:
        """Takes jobs from silent workers, fails those past their deadline, and repeats rings that idle workers did not
        hear.
        """
        seen = timedelta(seconds=self._settings.worker_timeout_seconds)
        with session_scope(self._engine) as session:
            backoff = timedelta(seconds=self._settings.retry_backoff_seconds)
            for job in leases.expire(session, backoff=backoff):
                logger.warning("job %s: its worker fell silent, now %s", job.id, job.state)
                metrics.REAPED.labels("lease").inc()
                self._owe_tracker(session, job)
            for job in lifecycle.expire_deadlines(session):
                logger.warning("job %s: its deadline has passed", job.id)
                metrics.REAPED.labels("deadline").inc()
                self._owe_tracker(session, job)
            # Busy workers will find their rings when they are done; more would only pile up.
            after = timedelta(seconds=self._settings.renotify_seconds)
            for queue, idle in workers.idle_by_queue(session, within=seen).items():
                for job in crud.renotify_queued(session, after=after, limit=idle, queue=queue):
                    logger.info("job %s: rung again", job.id)
                    metrics.RENOTIFIED.inc()
            workers.delete_unresponsive(session, unresponsive_for=10 * seen)
            teacher_stores.delete_unreported(session, older_than=_STORES_SEEN)

    def _owe_tracker(self, session: Session, job: Job) -> None:
        if self._settings.mlflow_tracking_uri is not None:
            tracking.enqueue(session, job)

    def serve(self, stop: Flag) -> None:
        """Both, over and over, until `stop` is set. A database that is away is waited for."""
        reap_at = 0.0
        while not stop.wait(self._settings.dispatch_interval_seconds):
            try:
                while self.dispatch() == _BATCH and not stop.is_set():
                    pass
                if time.monotonic() >= reap_at:
                    self.reap()
                    metrics.ROUND.set_to_current_time()
                    reap_at = time.monotonic() + self._settings.reap_interval_seconds
            except DATABASE_UNAVAILABLE as error:
                logger.warning("the database is away: %s", type(error).__name__)
                stop.wait(1.0)


def main() -> None:
    logs.configure_stdlib()
    settings = get_settings()
    stop = Flag()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    metrics.serve(settings, metrics.DISPATCHER)
    engine = create_engine(settings.database_url)
    notifier = CeleryNotifier(settings.broker_url, settings.queue_name)
    storage = build_storage(settings.storage_url, settings.s3)
    # Threads of their own: neither a storage with many objects nor a slow receiver may hold up a ring.
    beside = {
        "collector": Collector(settings, engine, storage).serve,
        "webhooks": WebhookSender(settings, engine).serve,
    }
    if settings.mlflow_tracking_uri is not None:
        beside["mlflow"] = Exporter(settings, engine, storage).serve
    for name, serve in beside.items():
        Thread(target=serve, args=[stop], name=name, daemon=True).start()
    with Presence(engine, "dispatcher", interval=settings.worker_timeout_seconds / 4):
        Dispatcher(settings, engine, notifier).serve(stop)
    engine.dispose()
