"""Queue statistics and positions."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from api.http.pagination import cut_page, decode_cursor, decode_time_cursor, encode_time_cursor
from api.jobs.views import teacher_of
from api.queue.schemas import QueueOut, QueueStats, WaitingJob, WaitingPage
from ttm_jobs.database.clock import now
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.models import Job, Worker
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.access import projects
from ttm_jobs.repositories.jobs import scheduling
from ttm_jobs.repositories.jobs.blocked import BlockedReason, BlockedReasons
from ttm_jobs.repositories.jobs.scheduling import QueuePosition
from ttm_jobs.settings import Settings

_CURSOR = "queue"


def overview(session: Session, all_projects: Session, settings: Settings) -> QueueOut:
    """Statistics of each queue. `all_projects` is a session that is not restricted to a project."""
    project_id = project_of(session)
    at, waiting = now(session), scheduling.queue_lengths(session)
    seen_within = timedelta(seconds=settings.worker_timeout_seconds)
    active = workers.recent(all_projects, within=seen_within, kind="worker")
    queues = [
        _stats(
            queue,
            at,
            waiting.get(queue),
            project_id,
            serving=[worker for worker in active if queue in worker.queues],
            scheduling_order=scheduling.scheduling_order(all_projects, queue),
        )
        for queue in dict.fromkeys((*settings.queues, *sorted(waiting)))
    ]
    return QueueOut(
        depth=sum(stats.depth for stats in queues),
        running=projects.running_jobs(session, project_id),
        oldest_age_seconds=max((stats.oldest_age_seconds or 0.0 for stats in queues if stats.depth), default=None),
        idle_workers=sum(worker.job_id is None for worker in active),
        queues=queues,
    )


def page(session: Session, settings: Settings, queue: str, *, limit: int, cursor: str | None) -> WaitingPage:
    """A page of the project's queued jobs. An unknown queue is empty."""
    after = None if cursor is None else decode_cursor(_CURSOR, cursor, _place)
    found = scheduling.queue_page(session, queue, limit=limit + 1, after=after)
    before = 0 if after is None else scheduling.count_until(session, queue, after)
    reasons = BlockedReasons(session, seen_within=timedelta(seconds=settings.worker_timeout_seconds))
    jobs, following = cut_page(
        _CURSOR, found, limit, lambda job: [job.rank, *encode_time_cursor(job.created_at, job.id)]
    )
    items = [_waiting(job, place, reasons.of(job)) for place, job in enumerate(jobs, before + 1)]
    return WaitingPage(items=items, next_cursor=following, has_more=following is not None)


def _place(position: list[Any]) -> QueuePosition:
    rank, *rest = position
    if rank not in range(20):
        raise ValueError
    return QueuePosition(int(rank), *decode_time_cursor(rest))


def _stats(
    queue: str,
    at: datetime,
    waiting: tuple[int, datetime] | None,
    project_id: str,
    *,
    serving: Sequence[Worker],
    scheduling_order: Sequence[str],
) -> QueueStats:
    count, since = waiting or (0, None)
    return QueueStats(
        name=queue,
        depth=count,
        oldest_age_seconds=_age(at, since),
        workers=len(serving),
        idle_workers=sum(worker.job_id is None for worker in serving),
        projects=len(scheduling_order),
        project_position=scheduling_order.index(project_id) + 1 if project_id in scheduling_order else None,
    )


def _waiting(job: Job, position: int, blocked: BlockedReason | None) -> WaitingJob:
    assert blocked is not None  # the job is queued
    return WaitingJob(
        id=job.id,
        name=job.name,
        owner=job.owner,
        teacher=teacher_of(job),
        student=job.student,
        position=position,
        priority=job.priority,
        device_memory_bytes=job.device_memory_bytes,
        attempt=job.attempt,
        created_at=job.created_at,
        queued_at=job.queued_at,
        not_before=job.not_before,
        deadline_at=job.deadline_at,
        blocked_on=blocked.what,
        blocked_reason=blocked.reason,
    )


def _age(at: datetime, since: datetime | None) -> float | None:
    return None if since is None else max(0.0, (at - since).total_seconds())
