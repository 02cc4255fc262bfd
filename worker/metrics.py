"""What a worker and a dispatcher tell Prometheus, each on a port of its own where the settings name one."""

import logging
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ttm_jobs.settings import Settings
from worker.trainer.devices import loads

logger = logging.getLogger(__name__)

WORKER = CollectorRegistry()
WAKE_UPS = Counter("ttm_worker_wake_ups", "Rings answered, by what came of it.", ["result"], registry=WORKER)
ATTEMPTS = Counter("ttm_worker_attempts", "Attempts that ended.", ["outcome"], registry=WORKER)
ATTEMPT_SECONDS = Histogram(
    "ttm_worker_attempt_seconds",
    "From the claim to the end.",
    buckets=(1, 10, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 48 * 3600),
    registry=WORKER,
)
BUSY = Gauge("ttm_worker_busy", "1 while it holds a job.", registry=WORKER)
HEARTBEATS = Counter("ttm_worker_heartbeats", "Leases extended, or not.", ["result"], registry=WORKER)
IMAGES_PER_SECOND = Gauge("ttm_trainer_images_per_second", "Of the trainer, 0 without one.", registry=WORKER)
DATA_WAIT = Gauge("ttm_trainer_data_wait_ratio", "Share of its time that it waits for data.", registry=WORKER)
TRAINER_MEMORY = Gauge("ttm_trainer_memory_bytes", "Memory of the trainer's processes' own.", registry=WORKER)

DISPATCHER = CollectorRegistry()
DISPATCHED = Counter(
    "ttm_dispatcher_wake_ups", "Rings handed to the broker, or refused.", ["result"], registry=DISPATCHER
)
REAPED = Counter("ttm_dispatcher_reaped", "Jobs taken back or failed.", ["reason"], registry=DISPATCHER)
RENOTIFIED = Counter("ttm_dispatcher_renotified", "Rings repeated for idle workers.", registry=DISPATCHER)
COLLECTED = Counter("ttm_dispatcher_collected_objects", "Objects that no row named.", registry=DISPATCHER)
RETIRED = Counter("ttm_dispatcher_retired", "Rows that the retention rules removed.", ["kind"], registry=DISPATCHER)
MLFLOW = Counter("ttm_mlflow_runs", "Jobs that MLflow was told of, or not.", ["result"], registry=DISPATCHER)
ROUND = Gauge("ttm_dispatcher_round_timestamp_seconds", "When it last went its round.", registry=DISPATCHER)

# A series that is there from the start has a rate from its first count on.
for result in ("claimed", "nothing", "database_away"):
    WAKE_UPS.labels(result)
for outcome in ("succeeded", "failed", "error", "released", "lost"):
    ATTEMPTS.labels(outcome)
for result in ("extended", "database_away", "lost"):
    HEARTBEATS.labels(result)
for result in ("taken", "refused"):
    DISPATCHED.labels(result)
for result in ("exported", "failed", "given_up"):
    MLFLOW.labels(result)
for reason in ("lease", "deadline"):
    REAPED.labels(reason)
for kind in ("artifacts", "logs", "checkpoints", "events", "metrics", "uploads"):
    RETIRED.labels(kind)


class Gpus(Collector):
    """What NVML says of the GPUs that this worker's trainers see; nothing where there are none."""

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        busy = GaugeMetricFamily("ttm_gpu_utilization_ratio", "Share of the time that it computes.", labels=["gpu"])
        used = GaugeMetricFamily("ttm_gpu_memory_used_bytes", "Of all processes on it.", labels=["gpu"])
        total = GaugeMetricFamily("ttm_gpu_memory_total_bytes", "Its memory.", labels=["gpu"])
        for gpu in loads():
            used.add_metric([gpu.uuid], gpu.used_bytes)
            total.add_metric([gpu.uuid], gpu.total_bytes)
            if gpu.busy is not None:
                busy.add_metric([gpu.uuid], gpu.busy)
        return [busy, used, total]


for registry in (WORKER, DISPATCHER):
    ProcessCollector(registry=registry)
WORKER.register(Gpus())


def serve(settings: Settings, of: CollectorRegistry) -> int | None:
    """Answers from now on, in a thread; the port, or None where there should be none. OSError if it is taken."""
    if settings.metrics_port is None:
        return None
    server, _ = start_http_server(settings.metrics_port, settings.metrics_host, of)
    logger.info("metrics at http://%s:%d/metrics", settings.metrics_host, server.server_port)
    return int(server.server_port)
