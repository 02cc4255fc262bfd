"""Teacher stores: what workers tell of their disks, and what the jobs of a project had of it."""

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
    """A store as a project knows it: by the jobs that had it open, `job` being the newest. Of the hosts that hold it
    there is at least one.
    """

    digest: str
    job: Job
    jobs: int
    hits: int
    filled: int
    last_used_at: datetime
    hosts: Sequence[TeacherStore]


def tell(session: Session, hostname: str, place: str, found: Collection[LocalStore]) -> None:
    """Replaces what a folder of a host was said to hold."""
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


def used(session: Session, job: Job, digests: Collection[str], *, hits: int, filled: int) -> None:
    """A job had these stores open; of several, each served the same images."""
    at = now(session)
    for digest in digests:
        use = session.get(TeacherStoreUse, (job.id, digest))
        if use is None:
            use = TeacherStoreUse(job_id=job.id, digest=digest, project_id=job.project_id, hits=0, filled=0)
            session.add(use)
        use.hits += hits // len(digests)
        use.filled += filled // len(digests)
        use.at = at


def page(session: Session, *, limit: int, before: tuple[datetime, str] | None = None) -> Sequence[StoreSummary]:
    """Those that jobs of the session's project had open, the most recently used first."""
    last = func.max(TeacherStoreUse.at)
    there = select(TeacherStore.digest).where(TeacherStore.digest == TeacherStoreUse.digest).exists()
    query = (
        select(
            TeacherStoreUse.digest,
            last.label("last"),
            func.count().label("jobs"),
            func.sum(TeacherStoreUse.hits).label("hits"),
            func.sum(TeacherStoreUse.filled).label("filled"),
        )
        .where(TeacherStoreUse.project_id == project_of(session), there)
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
            hits=int(row.hits),
            filled=int(row.filled),
            last_used_at=row.last,
            hosts=session.scalars(
                select(TeacherStore).where(TeacherStore.digest == row.digest).order_by(TeacherStore.hostname)
            ).all(),
        )
        for row in session.execute(query)
    ]


def forget(session: Session, *, silent_for: timedelta) -> None:
    """Removes what no worker has told of for so long."""
    session.execute(delete(TeacherStore).where(TeacherStore.last_seen_at < now(session) - silent_for))


def _newest_job(session: Session, digest: str) -> Job:
    return session.scalars(
        select(Job)
        .join(TeacherStoreUse, TeacherStoreUse.job_id == Job.id)
        .where(TeacherStoreUse.project_id == project_of(session), TeacherStoreUse.digest == digest)
        .order_by(TeacherStoreUse.at.desc(), Job.id.desc())
        .limit(1)
    ).one()
