"""Changes of several jobs: one transaction and one entry in the audit log per job."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.http.pagination import decode_cursor, decode_time_cursor, encode_cursor, encode_time_cursor
from api.http.types import is_id
from api.jobs.bulk.schemas import BulkError, BulkItem, BulkOut, JobFilter, JobSelection
from api.registry.resolution import resolve_filters
from ttm_jobs.database.audit import about
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import Conflict, JobNotFound, NotFound
from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs import crud, listing
from ttm_jobs.states import JobState

_CURSOR = "jobs of a filter"
_PAGE = 100
_MAX_COUNT = 100_000

Action = Callable[[Session, str], Job]


def change(engine: Engine, selection: JobSelection, action: Action, states: Collection[JobState]) -> BulkOut:
    """The result of `action` for each selected job. A job that is missing or in the wrong state does not affect the
    others. A filter matches only jobs in one of `states`.
    """
    if selection.filter is not None:
        job_ids, matched, following = _matching(engine, selection.filter, selection.cursor, states)
    else:
        job_ids = list(dict.fromkeys(selection.jobs or ()))
        matched, following = len(job_ids), None
    if selection.dry_run:
        with read_scope(engine) as session:
            items = [_result(nullcontext(session), job_id, crud.get) for job_id in job_ids]
    else:
        items = [_result(session_scope(about(engine, job_id)), job_id, action) for job_id in job_ids]
    return BulkOut(items=items, matched=matched, next_cursor=following)


def _matching(
    engine: Engine, given: JobFilter, cursor: str | None, states: Collection[JobState]
) -> tuple[Sequence[str], int, str | None]:
    filters = given.filters()
    wanted = [state for state in filters.states or JobState if state in states]
    if not wanted:
        return [], 0, None
    filters = replace(filters, states=wanted)
    before = None if cursor is None else decode_cursor(_CURSOR, cursor, decode_time_cursor, where="body")
    with read_scope(engine) as session:
        filters = resolve_filters(session, filters)
        page = listing.page(session, limit=_PAGE, before=before, filters=filters)
        last = page.jobs[-1] if page.has_more else None
        following = None if last is None else encode_cursor(_CURSOR, encode_time_cursor(last.created_at, last.id))
        matched = listing.count(session, filters, before=before, limit=_MAX_COUNT)
        return [job.id for job in page.jobs], matched, following


def _result(scope: AbstractContextManager[Session], job_id: str, action: Action) -> BulkItem:
    try:
        if not is_id(job_id):
            raise JobNotFound
        with scope as session:
            job = action(session, job_id)
            return BulkItem(id=job.id, state=job.state, tags=job.tags, error=None)
    except (Conflict, NotFound) as error:
        return BulkItem(id=job_id, state=None, tags=None, error=BulkError(code=error.code, message=error.message))
