"""Routes that change several jobs."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api.dependencies import EngineDep
from api.http.errors import InvalidCursor, InvalidRequest
from api.http.json_bodies import BODY_ERRORS, JsonRoute
from api.http.problems import problems
from api.jobs.bulk import service
from api.jobs.bulk.schemas import BulkCancel, BulkOut, BulkTag
from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs import control, crud
from ttm_jobs.states import TERMINAL, JobState

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=JsonRoute)


@router.post(
    "/cancel",
    operation_id="jobs_cancel_many",
    summary="Cancel several jobs",
    responses=problems(InvalidRequest, InvalidCursor, *BODY_ERRORS),
)
def jobs_cancel_many(request: BulkCancel, engine: EngineDep) -> BulkOut:
    """Cancels each job as `POST /jobs/{job_id}/cancel` does. The response has a result per job: a job that does not
    exist or has ended has an `error`, and the others are cancelled. Repeating the request has no effect. A `filter`
    matches jobs that have not ended, 100 per request: continue with `next_cursor`. `dry_run` changes nothing.
    """
    return service.change(engine, request, control.request_cancel, states=set(JobState) - TERMINAL)


@router.post(
    "/tag",
    operation_id="jobs_tag_many",
    summary="Tag several jobs",
    responses=problems(InvalidRequest, InvalidCursor, *BODY_ERRORS),
)
def jobs_tag_many(request: BulkTag, engine: EngineDep) -> BulkOut:
    """Adds and removes tags of each job, in any state. The response has a result per job: a job that does not exist or
    would have more than 20 tags has an `error`. Repeating the request has no effect. A `filter` selects 100 jobs per
    request: continue with `next_cursor`. `dry_run` changes nothing.
    """

    def retag(session: Session, job_id: str) -> Job:
        return crud.retag(session, job_id, add=request.add, remove=request.remove)

    return service.change(engine, request, retag, states=set(JobState))
