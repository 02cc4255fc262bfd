"""Registrations of workers and dispatchers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import Worker
from ttm_jobs.models.base import Json
from ttm_jobs.settings import DEFAULT_QUEUE

Kind = Literal["worker", "dispatcher"]


def register(
    session: Session,
    worker_id: str,
    *,
    kind: Kind,
    hostname: str,
    pid: int,
    devices: Sequence[Any],
    job_id: str | None,
    error: str | None = None,
    queues: Sequence[str] = (DEFAULT_QUEUE,),
    architectures: Mapping[str, Json] | None = None,
) -> None:
    """Registers a process or renews its registration."""
    at = now(session)
    worker = session.get(Worker, worker_id)
    if worker is None:
        worker = Worker(id=worker_id, kind=kind, hostname=hostname, pid=pid, devices=list(devices), started_at=at)
        worker.architectures = dict(architectures or {})
        session.add(worker)
    worker.queues = list(queues)
    worker.last_seen_at = at
    worker.job_id = job_id
    worker.error = error


def remove(session: Session, worker_id: str) -> None:
    session.execute(delete(Worker).where(Worker.id == worker_id))


def recent(session: Session, *, within: timedelta, kind: Kind | None = None) -> Sequence[Worker]:
    """Returns the processes that reported recently, oldest registration first."""
    query = select(Worker).where(Worker.last_seen_at >= now(session) - within).order_by(Worker.started_at, Worker.id)
    return session.scalars(query if kind is None else query.where(Worker.kind == kind)).all()


def idle_by_queue(session: Session, *, within: timedelta) -> dict[str, int]:
    """The number of idle workers by queue. Omits queues without idle workers."""
    idle = session.scalars(
        select(Worker.queues).where(
            Worker.kind == "worker", Worker.job_id.is_(None), Worker.last_seen_at >= now(session) - within
        )
    )
    return Counter(queue for queues in idle for queue in set(queues))


def delete_unresponsive(session: Session, *, unresponsive_for: timedelta) -> None:
    """Deletes the rows of processes that have not reported for this long."""
    session.execute(delete(Worker).where(Worker.last_seen_at < now(session) - unresponsive_for))
