"""Prometheus metrics that are read from the database at scrape time."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, describe_error, read_scope
from ttm_jobs.repositories import service_stats
from ttm_jobs.repositories.jobs import listing
from ttm_jobs.repositories.service_stats import Queue, ServiceStats, Totals
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState

log = structlog.get_logger()

# Totals aggregate whole tables, so they are cached.
_TOTALS_SECONDS = 60.0


class DatabaseCollector(Collector):
    """Collects metrics from the database. Every API process reports the same values: aggregate them with max, not
    sum.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._active_within = timedelta(seconds=settings.worker_timeout_seconds)
        self._lock = threading.Lock()
        self._totals: tuple[float, Totals, Mapping[JobState, int]] | None = None

    def describe(self) -> Iterable[Metric]:
        # Without this method the registry calls `collect` at registration, which queries the database.
        return []

    def collect(self) -> Iterable[Metric]:
        try:
            with read_scope(self._engine) as session:
                now = service_stats.collect(session, seen_within=self._active_within)
            totals, states = self._cached_totals()
        except DATABASE_UNAVAILABLE as error:
            log.warning("database metrics unavailable", error=describe_error(error))
            yield GaugeMetricFamily("ttm_database_up", "Whether the database is reachable.", 0)
            return
        yield GaugeMetricFamily("ttm_database_up", "Whether the database is reachable.", 1)
        yield from _current(now)
        by_state = {state.value: count for state, count in states.items()}
        yield _family("ttm_jobs", "Jobs by state, updated every minute.", "state", by_state)
        yield _family("ttm_attempts", "Attempts by outcome, updated every minute.", "outcome", totals.attempts)
        yield _family("ttm_stored_bytes", "Stored bytes by kind, updated every minute.", "kind", totals.stored_bytes)

    def _cached_totals(self) -> tuple[Totals, Mapping[JobState, int]]:
        with self._lock:
            if self._totals is None or self._totals[0] < time.monotonic():
                with read_scope(self._engine) as session:
                    found = service_stats.totals(session), listing.state_counts(session)
                self._totals = (time.monotonic() + _TOTALS_SECONDS, *found)
            return self._totals[1:]


def _current(now: ServiceStats) -> Iterable[Metric]:
    def by_queue(name: str, help_text: str, value: Callable[[Queue], float]) -> Metric:
        return _family(name, help_text, "queue", {queue: value(stats) for queue, stats in now.queues.items()})

    yield by_queue("ttm_queue_jobs", "Queued jobs.", lambda queue: queue.jobs)
    yield by_queue(
        "ttm_queue_oldest_seconds", "Age of the oldest queued job in seconds.", lambda queue: queue.oldest_seconds
    )
    yield by_queue(
        "ttm_queue_jobs_unplaceable",
        "Queued jobs that need devices, device memory or packages that no worker of the queue has.",
        lambda queue: queue.unplaceable,
    )
    yield by_queue("ttm_workers", "Active workers.", lambda queue: queue.workers)
    yield by_queue("ttm_workers_idle", "Active workers without a job.", lambda queue: queue.idle_workers)
    yield GaugeMetricFamily("ttm_dispatchers", "Active dispatchers.", now.dispatchers)
    yield GaugeMetricFamily("ttm_leases_expired", "Expired leases that have not been reaped.", now.expired_leases)
    yield GaugeMetricFamily("ttm_outbox_due", "Pending wake-up messages.", now.outbox_due)
    yield GaugeMetricFamily(
        "ttm_outbox_lag_seconds", "Age of the oldest pending wake-up message in seconds.", now.outbox_lag_seconds
    )


def _family(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
