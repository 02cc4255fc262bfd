"""Looks at workers, queue and use."""

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.operations.schemas import Limits, QueueOut, UsageOut, WorkerList, WorkerOut
from ttm_jobs.clock import now
from ttm_jobs.models import Job, Project
from ttm_jobs.repositories import jobs, projects, workers
from ttm_jobs.settings import Settings
from ttm_jobs.tenancy import project_of


def worker_list(session: Session, settings: Settings) -> WorkerList:
    """The workers; which job of another project one is at stays untold."""
    found = workers.recent(session, within=timedelta(seconds=settings.worker_seen_seconds), kind="worker")
    held = [worker.job_id for worker in found if worker.job_id is not None]
    own = set(session.scalars(select(Job.id).where(Job.id.in_(held))))
    return WorkerList(
        items=[
            WorkerOut(
                id=worker.id,
                hostname=worker.hostname,
                devices=worker.devices,
                started_at=worker.started_at,
                seen_at=worker.seen_at,
                busy=worker.job_id is not None,
                job_id=worker.job_id if worker.job_id in own else None,
            )
            for worker in found
        ]
    )


def queue(session: Session, settings: Settings) -> QueueOut:
    """How much waits, and for how long."""
    project_id = project_of(session)
    oldest = jobs.oldest_queued_at(session)
    return QueueOut(
        depth=projects.queued_jobs(session, project_id),
        running=projects.running_jobs(session, project_id),
        oldest_age_seconds=None if oldest is None else (now(session) - oldest).total_seconds(),
        idle_workers=workers.count_idle(session, within=timedelta(seconds=settings.worker_seen_seconds)),
    )


def usage(session: Session) -> UsageOut:
    """What the project uses of what it may."""
    project_id = project_of(session)
    used = projects.usage(session, project_id)
    limits = session.get_one(Project, project_id)
    return UsageOut(
        project=project_id,
        running_jobs=used.running_jobs,
        queued_jobs=used.queued_jobs,
        stored_bytes=used.stored_bytes,
        device_hours=used.device_hours,
        limits=Limits(
            running_jobs=limits.max_running_jobs,
            queued_jobs=limits.max_queued_jobs,
            stored_bytes=limits.max_stored_bytes,
            device_hours=limits.max_device_hours,
        ),
    )
