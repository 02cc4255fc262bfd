"""Teacher stores on workers' disks, and their use by the jobs of a project."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.models import Job, TeacherStore, TeacherStoreUse


@dataclass(frozen=True)
class LocalStore:
    """A store on a worker's disk."""

    digest: str
    encoding: str
    size: int
    rows: int
    used_at: datetime


@dataclass(frozen=True)
class StoreSummary:
    """A store with its use by a project's jobs. `job` is the newest one; `hosts` has at least one element."""

    digest: str
    job: Job
    jobs: int
    cache_hits: int
    forwards: int
    last_used_at: datetime
    hosts: Sequence[TeacherStore]


def report(session: Session, hostname: str, place: str, found: Collection[LocalStore]) -> None:
    """Replaces the reported content of a host's folder."""
    at = now(session)
    session.execute(
        delete(TeacherStore).where(
            TeacherStore.hostname == hostname,
            TeacherStore.place == place,
            TeacherStore.digest.not_in([store.digest for store in found]),
        )
    )
    for store in found:
        session.merge(
            TeacherStore(
                digest=store.digest,
                hostname=hostname,
                place=place,
                encoding=store.encoding,
                size=store.size,
                rows=store.rows,
                used_at=store.used_at,
                last_seen_at=at,
            )
        )


def used(session: Session, job: Job, digests: Collection[str], *, cache_hits: int, forwards: int) -> None:
    """Records that a job used these stores. With several stores, each served the same images."""
    at = now(session)
    for digest in digests:
        use = session.get(TeacherStoreUse, (job.id, digest))
        if use is None:
            use = TeacherStoreUse(job_id=job.id, digest=digest, project_id=job.project_id, cache_hits=0, forwards=0)
            session.add(use)
        use.cache_hits += cache_hits // len(digests)
        use.forwards += forwards // len(digests)
        use.at = at


def page(session: Session, *, limit: int, before: tuple[datetime, str] | None = None) -> Sequence[StoreSummary]:
    """Returns the stores that jobs of the session's project used, most recently used first."""
    last = func.max(TeacherStoreUse.at)
    exists = select(TeacherStore.digest).where(TeacherStore.digest == TeacherStoreUse.digest).exists()
    query = (
        select(
            TeacherStoreUse.digest,
            last.label("last"),
            func.count().label("jobs"),
            func.sum(TeacherStoreUse.cache_hits).label("cache_hits"),
            func.sum(TeacherStoreUse.forwards).label("forwards"),
        )
        .where(TeacherStoreUse.project_id == project_of(session), exists)
        .group_by(TeacherStoreUse.digest)
        .order_by(last.desc(), TeacherStoreUse.digest.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.having(tuple_(last, TeacherStoreUse.digest) < before)
    return [
        StoreSummary(
            digest=row.digest,
            job=_newest_job(session, row.digest),
            jobs=row.jobs,
            cache_hits=int(row.cache_hits),
            forwards=int(row.forwards),
            last_used_at=row.last,
            hosts=session.scalars(
                select(TeacherStore).where(TeacherStore.digest == row.digest).order_by(TeacherStore.hostname)
            ).all(),
        )
        for row in session.execute(query)
    ]


def delete_unreported(session: Session, *, older_than: timedelta) -> None:
    """Deletes stores that no worker has reported for this long."""
    session.execute(delete(TeacherStore).where(TeacherStore.last_seen_at < now(session) - older_than))


def _newest_job(session: Session, digest: str) -> Job:
    return session.scalars(
        select(Job)
        .join(TeacherStoreUse, TeacherStoreUse.job_id == Job.id)
        .where(TeacherStoreUse.project_id == project_of(session), TeacherStoreUse.digest == digest)
        .order_by(TeacherStoreUse.at.desc(), Job.id.desc())
        .limit(1)
    ).one()
