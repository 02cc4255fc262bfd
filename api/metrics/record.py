"""What the record says of the service, read when Prometheus asks."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, read_scope
from ttm_jobs.repositories import service_stats
from ttm_jobs.repositories.service_stats import Queue, ServiceStats, Totals
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState

log = structlog.get_logger()

# Sums over all that is kept: nobody acts on them within a minute.
_TOTALS_SECONDS = 60.0


class RecordCollector(Collector):
    """Every API process tells the same of the record, so a query takes the largest of them, not their sum."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._seen = timedelta(seconds=settings.worker_timeout_seconds)
        self._lock = threading.Lock()
        self._totals: tuple[float, Totals, Mapping[JobState, int]] | None = None

    def describe(self) -> Iterable[Metric]:
        # Without it the registry would ask the database as soon as it is made.
        return []

    def collect(self) -> Iterable[Metric]:
        try:
            with read_scope(self._engine) as session:
                now = service_stats.collect(session, seen_within=self._seen)
            totals, states = self._remembered_totals()
        except DATABASE_UNAVAILABLE as error:
            log.warning("no metrics of the record", error=type(error).__name__)
            yield GaugeMetricFamily("ttm_database_up", "Whether the database answered.", 0)
            return
        yield GaugeMetricFamily("ttm_database_up", "Whether the database answered.", 1)
        yield from _of_now(now)
        by_state = {state.value: count for state, count in states.items()}
        yield _family("ttm_jobs", "Jobs, as counted within the last minute.", "state", by_state)
        yield _family("ttm_attempts", "Attempts in the record, likewise.", "outcome", totals.attempts)
        yield _family("ttm_stored_bytes", "Bytes that the record names, likewise.", "kind", totals.stored_bytes)

    def _remembered_totals(self) -> tuple[Totals, Mapping[JobState, int]]:
        with self._lock:
            if self._totals is None or self._totals[0] < time.monotonic():
                with read_scope(self._engine) as session:
                    found = service_stats.totals(session), service_stats.state_counts(session)
                self._totals = (time.monotonic() + _TOTALS_SECONDS, *found)
            return self._totals[1:]


def _of_now(now: ServiceStats) -> Iterable[Metric]:
    def of_queues(name: str, words: str, number: Callable[[Queue], float]) -> Metric:
        return _family(name, words, "queue", {queue: number(told) for queue, told in now.queues.items()})

    yield of_queues("ttm_queue_jobs", "Jobs that wait.", lambda queue: queue.jobs)
    yield of_queues("ttm_queue_oldest_seconds", "How long the oldest has waited.", lambda queue: queue.oldest_seconds)
    yield of_queues(
        "ttm_queue_jobs_too_large",
        "Those that ask for more device memory than any worker of the queue has.",
        lambda queue: queue.too_large,
    )
    yield of_queues("ttm_workers", "Workers heard of lately.", lambda queue: queue.workers)
    yield of_queues("ttm_workers_idle", "Those without a job.", lambda queue: queue.idle_workers)
    yield GaugeMetricFamily("ttm_dispatchers", "Dispatchers heard of lately.", now.dispatchers)
    yield GaugeMetricFamily("ttm_leases_expired", "Leases that ran out, of jobs not taken back.", now.expired_leases)
    yield GaugeMetricFamily("ttm_outbox_due", "Rings that are owed.", now.outbox_due)
    yield GaugeMetricFamily("ttm_outbox_lag_seconds", "How long the oldest is owed.", now.outbox_lag_seconds)


def _family(name: str, words: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
