"""Lists of jobs. Each filter has an index in list order, so a page costs the same for any number of jobs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.orm import Session

from ttm_jobs.database import name_search
from ttm_jobs.models import Job, JobTag
from ttm_jobs.models.job import ALONE, ENDED_ALONE, beginning, rest
from ttm_jobs.states import JobState

# In place of the id of a study: jobs that belong to none.
NO_STUDY = "none"


@dataclass(frozen=True)
class JobFilters:
    """Filters of a list: any of `states`, all of `tags`, `name` as a substring, and each other value exactly. None
    matches everything. `study` is an id or NO_STUDY.
    """

    states: Collection[JobState] = ()
    tags: Collection[str] = ()
    name: str | None = None
    teacher: str | None = None
    dataset: str | None = None
    owner: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    study: str | None = None


@dataclass(frozen=True)
class JobPage:
    """`has_more` is true if another page follows."""

    jobs: Sequence[Job]
    has_more: bool


def page(
    session: Session,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
    filters: JobFilters | None = None,
) -> JobPage:
    """Returns a page, newest first. `before` is (created_at, id) of the previous page's last job."""
    filters = filters or JobFilters()
    query = _filtered(session, filters, limit=limit + 1, before=before)
    if len(filters.states) > 1:
        # One index range per state, merged: a single query would sort all matching jobs for every page.
        lists = [session.scalars(query.where(Job.state == state)) for state in filters.states]
        jobs: Sequence[Job] = list(islice(merge(*lists, key=_position, reverse=True), limit + 1))
    else:
        jobs = session.scalars(query.where(*(Job.state == state for state in filters.states))).all()
    return JobPage(jobs[:limit], has_more=len(jobs) > limit)


def ended_alone(session: Session, *, limit: int) -> Sequence[Job]:
    """The jobs that ended last, without those of studies."""
    # The literal conditions are those of the index.
    query = select(Job).where(ENDED_ALONE).order_by(Job.finished_at.desc(), Job.id.desc()).limit(limit)
    return session.scalars(query).all()


def count(session: Session, filters: JobFilters, *, before: tuple[datetime, str] | None, limit: int) -> int:
    """The number of jobs after a position, counted up to `limit`."""
    query = _filtered(session, filters, limit=limit, before=before)
    if filters.states:
        query = query.where(Job.state.in_(filters.states))
    # Counting needs no order, which could keep the database from using the best index.
    found = query.with_only_columns(Job.id).order_by(None).subquery()
    return session.scalar(select(func.count()).select_from(found)) or 0


def state_counts(session: Session, filters: JobFilters | None = None) -> dict[JobState, int]:
    """The number of jobs in each state that pass all filters except `states`."""
    query, _, _ = matching(session, filters or JobFilters())
    # The state is never NULL. Counting it, unlike rows, lets the databases read it from an index alone.
    counted = query.with_only_columns(Job.state, func.count(Job.state)).group_by(Job.state)
    counts: dict[JobState, int] = dict(session.execute(counted).all())
    return {state: counts.get(state, 0) for state in JobState}


def matching(session: Session, filters: JobFilters) -> tuple[Select[Job], Any, Any]:
    """A query for the jobs that pass all filters except `states`, with its columns of creation time and id."""
    query = select(Job)
    created_at: Any = Job.created_at
    job_id: Any = Job.id
    if filters.tags:
        first, *others = sorted(set(filters.tags))
        query = query.join(JobTag, JobTag.job_id == Job.id).where(JobTag.tag == first)
        # Reads in the order of the tag index.
        created_at, job_id = JobTag.created_at, JobTag.job_id
        for tag in others:
            query = query.where(
                select(JobTag.tag).where(JobTag.job_id == Job.id, JobTag.tag == tag).correlate(Job).exists()
            )
    if filters.name is not None:
        query = query.where(name_search.contains(session, filters.name))
    if filters.teacher is not None:
        query = query.where(*_equal(Job.teacher, filters.teacher))
    if filters.dataset is not None:
        query = query.where(*_equal(Job.dataset, filters.dataset))
    if filters.owner is not None:
        query = query.where(Job.owner == filters.owner)
    if filters.study == NO_STUDY:
        # The literal condition is that of the index.
        query = query.where(ALONE)
    elif filters.study is not None:
        query = query.where(Job.study_id == filters.study)
    if filters.created_after is not None:
        query = query.where(created_at > filters.created_after)
    if filters.created_before is not None:
        query = query.where(created_at < filters.created_before)
    return query, created_at, job_id


def _filtered(session: Session, filters: JobFilters, *, limit: int, before: tuple[datetime, str] | None) -> Select[Job]:
    query, created_at, job_id = matching(session, filters)
    if before is not None:
        query = query.where(tuple_(created_at, job_id) < before)
    return query.order_by(created_at.desc(), job_id.desc()).limit(limit)


def _equal(column: Any, value: str) -> Sequence[ColumnElement[bool]]:
    # Two conditions: with an additional one on the whole value, SQLite would not use the expression index.
    return beginning(column) == beginning(value), rest(column) == rest(value)


def _position(job: Job) -> tuple[datetime, str]:
    return job.created_at, job.id
