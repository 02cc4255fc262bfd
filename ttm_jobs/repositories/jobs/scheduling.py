"""Scheduling order and the queue.

Among the projects with queued jobs, the one with the fewest running jobs is first; among those, the one that started
its last job longest ago. Within a project, the job with the highest priority is first; at equal priority, jobs of
studies yield to others; then the oldest is first. A project with a hundred thousand urgent jobs therefore delays no
other project.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session, aliased

from ttm_jobs.database.clock import now
from ttm_jobs.models import Job, Project
from ttm_jobs.models.job import BEGUN, HOLDING, WAITING, WAITING_FOR_ARCHITECTURES
from ttm_jobs.repositories import installed
from ttm_jobs.repositories.access import quotas
from ttm_jobs.settings import DEFAULT_QUEUE


@dataclass(frozen=True)
class WorkerCapacity:
    """What a worker can run: the queues it serves in order of preference, its devices, and the keys of the
    architectures of packages that it has installed. `kind` is cpu or cuda, `count` the number of GPUs or CPU threads,
    `bfloat16` whether the device computes in that precision, `memory_bytes` that of one device. None: unknown, accepts
    every job.
    """

    queues: Sequence[str] = (DEFAULT_QUEUE,)
    kind: str | None = None
    count: int = 1
    bfloat16: bool | None = None
    memory_bytes: int | None = None
    architectures: Collection[str] = ()


def candidates(session: Session, capacity: WorkerCapacity) -> Iterator[str]:
    """Yields the ids of the next jobs, one per project, each locked until the transaction ends. Skips locked rows."""
    at = now(session)
    conditions = _fitting(session, capacity)
    for queue in capacity.queues:
        for project_id in scheduling_order(session, queue):
            if (job_id := _first(session, queue, project_id, conditions, at)) is not None:
                yield job_id


def scheduling_order(session: Session, queue: str) -> Sequence[str]:
    """Projects that have jobs in the queue and may run another one, in scheduling order."""
    first = select(func.min(Job.project_id).label("project_id")).where(WAITING, Job.queue == queue)
    waiting = first.cte("waiting", recursive=True)
    # Each project costs one index step, whatever the number of its queued jobs.
    further = aliased(Job)
    following = (
        select(func.min(further.project_id))
        .where(WAITING, further.queue == queue, further.project_id > waiting.c.project_id)
        .correlate(waiting)
        .scalar_subquery()
    )
    waiting = waiting.union_all(select(following).where(waiting.c.project_id.is_not(None)))
    running = (
        select(func.count())
        .select_from(Job)
        .where(HOLDING, Job.project_id == waiting.c.project_id)
        .correlate(waiting)
        .scalar_subquery()
    )
    began = (
        select(Job.started_at)
        .where(BEGUN, Job.project_id == waiting.c.project_id)
        .order_by(Job.started_at.desc())
        .limit(1)
        .correlate(waiting)
        .scalar_subquery()
    )
    return session.scalars(
        select(waiting.c.project_id)
        .outerjoin(Project, Project.id == waiting.c.project_id)
        .where(
            waiting.c.project_id.is_not(None),
            quotas.may_run_another(session, running),
        )
        .order_by(running, began.nulls_first(), waiting.c.project_id)
    ).all()


def _first(
    session: Session, queue: str, project_id: str, conditions: Sequence[ColumnElement[bool]], at: datetime
) -> str | None:
    query = select(Job.id).where(
        WAITING,
        Job.queue == queue,
        Job.project_id == project_id,
        or_(Job.not_before.is_(None), Job.not_before <= at),
        or_(Job.deadline_at.is_(None), Job.deadline_at > at),
        *conditions,
    )
    return session.scalar(query.order_by(Job.rank.desc(), Job.created_at).limit(1).with_for_update(skip_locked=True))


def _fitting(session: Session, capacity: WorkerCapacity) -> list[ColumnElement[bool]]:
    """The conditions of jobs that the worker can run."""
    conditions: list[ColumnElement[bool]] = []
    if capacity.kind is not None:
        conditions.append(or_(Job.device_kind.is_(None), Job.device_kind == capacity.kind))
    if capacity.kind == "cuda":
        conditions.append(Job.gpus <= capacity.count)
    if capacity.bfloat16 is False:
        conditions.append(Job.bfloat16.is_(False))
    if capacity.memory_bytes is not None:
        conditions.append(or_(Job.device_memory_bytes.is_(None), Job.device_memory_bytes <= capacity.memory_bytes))
    no_package = Job.architectures.is_(None)
    if not capacity.architectures:
        return [*conditions, no_package]
    # Few jobs, which have an index of their own.
    waiting = select(Job.architectures).where(WAITING_FOR_ARCHITECTURES, Job.queue.in_(capacity.queues))
    needed = session.scalars(waiting.distinct())
    has = [each for each in needed if installed.has_all(capacity.architectures, each)]
    return [*conditions, or_(no_package, Job.architectures.in_(has)) if has else no_package]


@dataclass(frozen=True)
class QueuePosition:
    """The sort key of a job in its project's part of a queue."""

    rank: int
    created_at: datetime
    job_id: str


def queue_lengths(session: Session) -> dict[str, tuple[int, datetime]]:
    """The number of queued jobs and the time of the oldest one, by queue. Omits empty queues."""
    query = select(Job.queue, func.count(), func.min(Job.queued_at)).where(WAITING).group_by(Job.queue)
    return {queue: (count, since) for queue, count, since in session.execute(query)}


def queue_page(session: Session, queue: str, *, limit: int, after: QueuePosition | None = None) -> Sequence[Job]:
    """Queued jobs of the session's project in scheduling order."""
    if after is None:
        return _queued(session, queue, limit=limit)
    # Two queries, each an index range; a single condition would not use the index.
    later = or_(Job.created_at > after.created_at, Job.id > after.job_id)
    same_rank = (Job.rank == after.rank, Job.created_at >= after.created_at, later)
    found = list(_queued(session, queue, *same_rank, limit=limit))
    if len(found) < limit:
        found += _queued(session, queue, Job.rank < after.rank, limit=limit - len(found))
    return found


def count_until(session: Session, queue: str, place: QueuePosition) -> int:
    """The number of the project's queued jobs up to and including a position."""
    no_later = or_(Job.created_at < place.created_at, Job.id <= place.job_id)
    same_rank = (Job.rank == place.rank, Job.created_at <= place.created_at, no_later)
    return sum(
        session.scalar(select(func.count(Job.id)).where(WAITING, Job.queue == queue, *conditions)) or 0
        for conditions in ((Job.rank > place.rank,), same_rank)
    )


def _queued(session: Session, queue: str, *conditions: ColumnElement[bool], limit: int) -> Sequence[Job]:
    query = select(Job).where(WAITING, Job.queue == queue, *conditions)
    return session.scalars(query.order_by(Job.rank.desc(), Job.created_at, Job.id).limit(limit)).all()
