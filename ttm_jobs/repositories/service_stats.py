"""Statistics of the whole service: queues, leases, pending messages, processes, totals."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import Artifact, Attempt, Checkpoint, Job, OutboxMessage, Upload, Worker
from ttm_jobs.models.job import HOLDING, WAITING
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.installed import has_all
from ttm_jobs.repositories.jobs.transitions import WAKE_UP


@dataclass(frozen=True)
class Queue:
    """Statistics of a queue. `unplaceable` counts the jobs whose devices or architectures none of its workers has."""

    jobs: int = 0
    oldest_seconds: float = 0.0
    workers: int = 0
    idle_workers: int = 0
    unplaceable: int = 0


@dataclass(frozen=True)
class ServiceStats:
    """Current statistics. None of them reads finished jobs."""

    queues: Mapping[str, Queue]
    expired_leases: int
    outbox_due: int
    outbox_lag_seconds: float
    dispatchers: int


@dataclass(frozen=True)
class Totals:
    """Totals over all rows. They scan whole indexes or tables: query them every minute, not every second."""

    attempts: Mapping[str, int]  # by outcome; "running" for those without
    stored_bytes: Mapping[str, int]  # by kind


def collect(session: Session, *, seen_within: timedelta) -> ServiceStats:
    """Collects the current statistics."""
    at = now(session)
    waiting = session.execute(
        select(Job.queue, func.count(), func.min(Job.queued_at)).where(WAITING).group_by(Job.queue)
    ).all()
    processes = workers.recent(session, within=seen_within)
    serving = [worker for worker in processes if worker.kind == "worker"]
    served = Counter(queue for worker in serving for queue in set(worker.queues))
    idle = Counter(queue for worker in serving if worker.job_id is None for queue in set(worker.queues))
    depths = {queue: (count, _seconds(at, since)) for queue, count, since in waiting}
    unplaceable = _unplaceable(session, serving)
    queues = {
        name: Queue(
            *depths.get(name, (0, 0.0)), workers=served[name], idle_workers=idle[name], unplaceable=unplaceable[name]
        )
        for name in {*depths, *served}
    }
    due, first = session.execute(
        select(func.count(), func.min(OutboxMessage.next_attempt_at)).where(
            OutboxMessage.topic == WAKE_UP, OutboxMessage.lane == "", OutboxMessage.next_attempt_at <= at
        )
    ).one()
    expired = select(func.count()).select_from(Job).where(HOLDING, Job.lease_until <= at)
    return ServiceStats(
        queues=queues,
        expired_leases=session.scalar(expired) or 0,
        outbox_due=due,
        outbox_lag_seconds=0.0 if first is None else _seconds(at, first),
        dispatchers=len(processes) - len(serving),
    )


def totals(session: Session) -> Totals:
    """Computes the totals."""
    outcomes: Sequence[tuple[str | None, int]] = [
        (outcome, count)
        for outcome, count in session.execute(select(Attempt.outcome, func.count()).group_by(Attempt.outcome))
    ]
    sizes = {"uploads": Upload.size, "artifacts": Artifact.size, "checkpoints": Checkpoint.size}
    return Totals(
        attempts={outcome or "running": count for outcome, count in outcomes},
        stored_bytes={kind: int(session.scalar(select(func.sum(size))) or 0) for kind, size in sizes.items()},
    )


def _unplaceable(session: Session, serving: Sequence[Worker]) -> Counter[str]:
    """Numbers of jobs that no worker can run, for each queue that is served."""
    needs = Job.queue, Job.device_kind, Job.gpus, Job.bfloat16, Job.device_memory_bytes, Job.architectures
    restricted = or_(
        Job.device_memory_bytes.is_not(None),
        Job.device_kind.is_not(None),
        Job.gpus > 1,
        Job.bfloat16,
        Job.architectures.is_not(None),
    )
    found: Counter[str] = Counter()
    for queue, kind, gpus, bfloat16, memory, architectures, count in session.execute(
        select(*needs, func.count()).where(WAITING, restricted).group_by(*needs)
    ):
        workers_of_queue = [worker for worker in serving if queue in worker.queues]
        if workers_of_queue and not any(
            _can_run(worker, kind, gpus, bfloat16, memory) and has_all(worker.architectures, architectures)
            for worker in workers_of_queue
        ):
            found[queue] += count
    return found


def _can_run(worker: Worker, kind: str | None, gpus: int, bfloat16: bool, memory: int | None) -> bool:
    device = worker.devices[0] if worker.devices else {}
    known = device.get("kind")
    if known is not None and (kind not in (None, known) or (known == "cuda" and device["count"] < gpus)):
        return False
    # A worker whose device is unknown accepts every job.
    if bfloat16 and device.get("bfloat16") is False:
        return False
    available = device.get("memory_bytes")
    return memory is None or available is None or memory <= available


def _seconds(at: datetime, since: datetime) -> float:
    return max(0.0, (at - since).total_seconds())
