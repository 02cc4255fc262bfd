"""Changes of several jobs: one transaction and one entry in the audit log per job."""

from collections.abc import Callable, Sequence

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.http.types import is_id
from api.jobs.bulk.schemas import BulkError, BulkItem, BulkOut
from ttm_jobs.database.audit import about
from ttm_jobs.database.engine import session_scope
from ttm_jobs.errors import Conflict, JobNotFound, NotFound
from ttm_jobs.models import Job


def change_all(engine: Engine, job_ids: Sequence[str], action: Callable[[Session, str], Job]) -> BulkOut:
    """The result of `action` for each job. A job that is missing or in the wrong state does not affect the others."""
    return BulkOut(items=[_change(engine, job_id, action) for job_id in dict.fromkeys(job_ids)])


def _change(engine: Engine, job_id: str, action: Callable[[Session, str], Job]) -> BulkItem:
    try:
        if not is_id(job_id):
            raise JobNotFound
        with session_scope(about(engine, job_id)) as session:
            job = action(session, job_id)
            return BulkItem(id=job_id, state=job.state, tags=job.tags, error=None)
    except (Conflict, NotFound) as error:
        return BulkItem(id=job_id, state=None, tags=None, error=BulkError(code=error.code, message=error.message))
