"""Looks at what waits: which jobs, in which order, and for what."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from api.http.pagination import decode_cursor, decode_time_cursor, encode_cursor, encode_time_cursor
from api.jobs.views import teacher_of
from api.queue.schemas import QueueLine, QueueOut, WaitingJob, WaitingPage
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
    """How much waits in each queue, and for how long. `all_projects` is a session that is bound to none."""
    project_id = project_of(session)
    at, waiting = now(session), scheduling.queue_lengths(session)
    seen_within = timedelta(seconds=settings.worker_timeout_seconds)
    there = workers.recent(all_projects, within=seen_within, kind="worker")
    queues = [
        _line(
            queue,
            at,
            waiting.get(queue),
            project_id,
            serving=[worker for worker in there if queue in worker.queues],
            scheduling_order=scheduling.scheduling_order(all_projects, queue),
        )
        for queue in dict.fromkeys((*settings.queues, *sorted(waiting)))
    ]
    return QueueOut(
        depth=sum(line.depth for line in queues),
        running=projects.running_jobs(session, project_id),
        oldest_age_seconds=max((line.oldest_age_seconds or 0.0 for line in queues if line.depth), default=None),
        idle_workers=sum(worker.job_id is None for worker in there),
        queues=queues,
    )


def page(session: Session, settings: Settings, queue: str, *, limit: int, cursor: str | None) -> WaitingPage:
    """A page of the project's line in a queue; a queue that is unknown is empty."""
    after = None if cursor is None else decode_cursor(_CURSOR, cursor, _place)
    found = scheduling.queue_page(session, queue, limit=limit + 1, after=after)
    before = 0 if after is None else scheduling.count_until(session, queue, after)
    waits = BlockedReasons(session, seen_within=timedelta(seconds=settings.worker_timeout_seconds))
    items = [_waiting(job, place, waits.of(job)) for place, job in enumerate(found[:limit], before + 1)]
    has_more = len(found) > limit
    following = None
    if has_more:
        last = found[limit - 1]
        following = encode_cursor(_CURSOR, [last.priority, *encode_time_cursor(last.created_at, last.id)])
    return WaitingPage(items=items, next_cursor=following, has_more=has_more)


def _place(position: list[Any]) -> QueuePosition:
    priority, *moment = position
    if priority not in range(10):
        raise ValueError
    return QueuePosition(int(priority), *decode_time_cursor(moment))


def _line(
    queue: str,
    at: datetime,
    waiting: tuple[int, datetime] | None,
    project_id: str,
    *,
    serving: Sequence[Worker],
    scheduling_order: Sequence[str],
) -> QueueLine:
    count, since = waiting or (0, None)
    return QueueLine(
        name=queue,
        depth=count,
        oldest_age_seconds=_age(at, since),
        workers=len(serving),
        idle_workers=sum(worker.job_id is None for worker in serving),
        projects=len(scheduling_order),
        turn=scheduling_order.index(project_id) + 1 if project_id in scheduling_order else None,
    )


def _waiting(job: Job, position: int, wait: BlockedReason | None) -> WaitingJob:
    assert wait is not None  # it is queued
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
        blocked_on=wait.what,
        blocked_reason=wait.reason,
    )


def _age(at: datetime, since: datetime | None) -> float | None:
    return None if since is None else max(0.0, (at - since).total_seconds())
