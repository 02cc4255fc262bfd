"""Routes that change several jobs."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api.dependencies import EngineDep
from api.http.errors import InvalidRequest
from api.http.json_bodies import BODY_ERRORS, JsonRoute
from api.http.problems import problems
from api.jobs.bulk import service
from api.jobs.bulk.schemas import BulkCancel, BulkOut, BulkTag
from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs import crud

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=JsonRoute)


@router.post(
    "/cancel",
    operation_id="jobs_cancel_many",
    summary="Cancel several jobs",
    responses=problems(InvalidRequest, *BODY_ERRORS),
)
def jobs_cancel_many(request: BulkCancel, engine: EngineDep) -> BulkOut:
    """Cancels each job as `POST /jobs/{job_id}/cancel` does. The response has a result per job: a job that does not
    exist or has ended has an `error`, and the others are cancelled. Repeating the request has no effect.
    """
    return service.change_all(engine, request.jobs, crud.request_cancel)


@router.post(
    "/tag",
    operation_id="jobs_tag_many",
    summary="Tag several jobs",
    responses=problems(InvalidRequest, *BODY_ERRORS),
)
def jobs_tag_many(request: BulkTag, engine: EngineDep) -> BulkOut:
    """Adds and removes tags of each job, in any state. The response has a result per job: a job that does not exist or
    would have more than 20 tags has an `error`. Repeating the request has no effect.
    """

    def retag(session: Session, job_id: str) -> Job:
        return crud.retag(session, job_id, add=request.add, remove=request.remove)

    return service.change_all(engine, request.jobs, retag)
