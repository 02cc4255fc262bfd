"""Workers, teacher stores and usage."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.http.pagination import cut_page, decode_cursor, decode_time_cursor, encode_time_cursor
from api.jobs.views import teacher_of
from api.operations.schemas import (
    InstalledArchitecture,
    Limits,
    StoreHost,
    StoreOut,
    StorePage,
    UsageOut,
    WorkerList,
    WorkerOut,
)
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.models import Job, Project
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.access import projects, quotas
from ttm_jobs.repositories.run_data import teacher_stores
from ttm_jobs.repositories.run_data.teacher_stores import StoreSummary
from ttm_jobs.settings import Settings

_STORES = "teacher stores"


def worker_list(session: Session, settings: Settings) -> WorkerList:
    """The active workers. Ids of other projects' jobs are not returned."""
    found = workers.recent(session, within=timedelta(seconds=settings.worker_timeout_seconds), kind="worker")
    current = [worker.job_id for worker in found if worker.job_id is not None]
    own = {job.id: job.name for job in session.execute(select(Job.id, Job.name).where(Job.id.in_(current)))}
    return WorkerList(
        items=[
            WorkerOut(
                id=worker.id,
                hostname=worker.hostname,
                devices=worker.devices,
                queues=worker.queues,
                architectures=[
                    InstalledArchitecture(name=row["name"], origin=row["origin"])
                    for row in worker.architectures.values()
                ],
                started_at=worker.started_at,
                last_seen_at=worker.last_seen_at,
                busy=worker.job_id is not None,
                job_id=worker.job_id if worker.job_id in own else None,
                job_name=own.get(worker.job_id or ""),
                error=worker.error,
            )
            for worker in found
        ]
    )


def store_page(session: Session, *, limit: int, cursor: str | None) -> StorePage:
    """A page of the teacher stores that jobs of the project used."""
    before = None if cursor is None else decode_cursor(_STORES, cursor, _store_position)
    found = teacher_stores.page(session, limit=limit + 1, before=before)
    rows, following = cut_page(_STORES, found, limit, lambda row: encode_time_cursor(row.last_used_at, row.digest))
    return StorePage(items=[_store(row) for row in rows], next_cursor=following, has_more=following is not None)


def _store_position(position: list[Any]) -> tuple[datetime, str]:
    return decode_time_cursor(position, is_valid_id=lambda name: len(name) == 64 and name.isalnum())


def _store(known: StoreSummary) -> StoreOut:
    largest = max(known.hosts, key=lambda host: host.size)
    return StoreOut(
        key=known.digest,
        teacher=teacher_of(known.job),
        dataset=known.job.dataset,
        encoding=largest.encoding,
        size=largest.size,
        rows=max(host.rows for host in known.hosts),
        jobs=known.jobs,
        cache_hits=known.cache_hits,
        forwards=known.forwards,
        last_used_at=known.last_used_at,
        hosts=[StoreHost(**{name: getattr(host, name) for name in StoreHost.model_fields}) for host in known.hosts],
    )


def usage(session: Session) -> UsageOut:
    """The usage and limits of the caller's project."""
    project_id = project_of(session)
    used = projects.usage(session, project_id)
    limits = quotas.limits_of(session, session.get_one(Project, project_id))
    return UsageOut(
        project=project_id,
        running_jobs=used.running_jobs,
        queued_jobs=used.queued_jobs,
        stored_bytes=used.stored_bytes,
        device_hours=used.device_hours,
        limits=Limits(
            running_jobs=limits.running_jobs,
            queued_jobs=limits.queued_jobs,
            stored_bytes=limits.stored_bytes,
            device_hours=limits.device_hours,
        ),
    )
