"""The route that compares jobs."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.comparisons import service
from api.comparisons.schemas import JobComparison
from api.dependencies import EngineDep, SettingsDep, StorageDep
from api.http.errors import InvalidRequest
from api.http.problems import problems
from api.http.types import is_id
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import JobNotFound

router = APIRouter(prefix="/comparisons", tags=["jobs"])


@router.get("", operation_id="jobs_compare", summary="Compare jobs", responses=problems(JobNotFound, InvalidRequest))
def jobs_compare(
    engine: EngineDep,
    storage: StorageDep,
    settings: SettingsDep,
    job: Annotated[list[str], Query(min_length=2, max_length=service.MAX_JOBS, description="Ids of the jobs.")],
    baseline: Annotated[
        str | None, Query(max_length=36, description="Id of one of the jobs: the others are compared with its group.")
    ] = None,
) -> JobComparison:
    """Accuracies on one split with their intervals, costs, and the fields in which the specs differ. Jobs that differ
    only in their seed form a group with mean and standard deviation. Differences from the baseline have 95 %
    intervals: over common seeds, or over the split's images."""
    job_ids = list(dict.fromkeys(job))
    if not all(is_id(job_id) for job_id in job_ids):
        raise JobNotFound
    if baseline is not None and baseline not in job_ids:
        raise InvalidRequest("The baseline must be one of the compared jobs.")
    with read_scope(engine) as session:
        return service.compare(session, storage, settings, job_ids, baseline)
