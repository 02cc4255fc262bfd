"""Prometheus metrics of workers and dispatchers, each on its own port if the settings name one."""

import logging
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ttm_jobs.settings import Settings
from worker.trainer.devices import loads

logger = logging.getLogger(__name__)

WORKER = CollectorRegistry()
WAKE_UPS = Counter("ttm_worker_wake_ups", "Wake-up messages handled, by result.", ["result"], registry=WORKER)
ATTEMPTS = Counter("ttm_worker_attempts", "Attempts that ended.", ["outcome"], registry=WORKER)
ATTEMPT_SECONDS = Histogram(
    "ttm_worker_attempt_seconds",
    "Duration of attempts.",
    buckets=(1, 10, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 48 * 3600),
    registry=WORKER,
)
BUSY = Gauge("ttm_worker_busy", "1 while the worker runs a job.", registry=WORKER)
HEARTBEATS = Counter("ttm_worker_heartbeats", "Heartbeats by result.", ["result"], registry=WORKER)
IMAGES_PER_SECOND = Gauge("ttm_trainer_images_per_second", "Throughput of the trainer; 0 without one.", registry=WORKER)
DATA_WAIT = Gauge("ttm_trainer_data_wait_ratio", "Share of time that the trainer waits for data.", registry=WORKER)
TRAINER_MEMORY = Gauge("ttm_trainer_memory_bytes", "Private memory of the trainer's processes.", registry=WORKER)

DISPATCHER = CollectorRegistry()
DISPATCHED = Counter(
    "ttm_dispatcher_wake_ups", "Wake-up messages accepted or refused by the broker.", ["result"], registry=DISPATCHER
)
REAPED = Counter("ttm_dispatcher_reaped", "Jobs requeued or failed by the reaper.", ["reason"], registry=DISPATCHER)
RENOTIFIED = Counter("ttm_dispatcher_renotified", "Repeated wake-up messages.", registry=DISPATCHER)
COLLECTED = Counter("ttm_dispatcher_collected_objects", "Deleted unreferenced objects.", registry=DISPATCHER)
EXPIRED = Counter("ttm_dispatcher_expired", "Rows deleted by retention rules.", ["kind"], registry=DISPATCHER)
MLFLOW = Counter("ttm_mlflow_runs", "Exports to MLflow by result.", ["result"], registry=DISPATCHER)
ROUND = Gauge("ttm_dispatcher_round_timestamp_seconds", "Time of the last completed round.", registry=DISPATCHER)

# Initialized series have a rate from their first increment.
for result in ("claimed", "nothing", "database_unavailable", "error"):
    WAKE_UPS.labels(result)
for outcome in ("succeeded", "failed", "error", "released", "lost"):
    ATTEMPTS.labels(outcome)
for result in ("extended", "database_unavailable", "lost"):
    HEARTBEATS.labels(result)
for result in ("taken", "refused"):
    DISPATCHED.labels(result)
for result in ("exported", "failed", "given_up"):
    MLFLOW.labels(result)
for reason in ("lease", "deadline"):
    REAPED.labels(reason)
for kind in ("artifacts", "logs", "checkpoints", "events", "metrics", "uploads", "audit"):
    EXPIRED.labels(kind)


class Gpus(Collector):
    """NVML statistics of the GPUs that this worker's trainers see."""

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        busy = GaugeMetricFamily("ttm_gpu_utilization_ratio", "GPU utilization.", labels=["gpu"])
        used = GaugeMetricFamily("ttm_gpu_memory_used_bytes", "Used GPU memory.", labels=["gpu"])
        total = GaugeMetricFamily("ttm_gpu_memory_total_bytes", "Total GPU memory.", labels=["gpu"])
        for gpu in loads():
            used.add_metric([gpu.uuid], gpu.used_bytes)
            total.add_metric([gpu.uuid], gpu.total_bytes)
            if gpu.busy is not None:
                busy.add_metric([gpu.uuid], gpu.busy)
        return [busy, used, total]


for registry in (WORKER, DISPATCHER):
    ProcessCollector(registry=registry)
WORKER.register(Gpus())


def serve(settings: Settings, registry: CollectorRegistry) -> int | None:
    """Starts the metrics server in a thread. Returns its port; None if it is disabled. Raises OSError if taken."""
    if settings.metrics_port is None:
        return None
    server, _ = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    logger.info("metrics at http://%s:%d/metrics", settings.metrics_host, server.server_port)
    return int(server.server_port)
