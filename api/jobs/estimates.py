"""What a job would take, as one like it took."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from api.jobs.schemas import JobRequest
from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs import listing
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.repositories.run_data import artifacts, events
from ttm_jobs.states import JobState

_LOOKED_AT = 200


@dataclass(frozen=True)
class Taken:
    """What the newest job like it took, its time scaled to the epochs. None for what that job does not tell."""

    job_id: str
    seconds: float | None
    memory_bytes: int | None
    disk_bytes: int


def estimate(session: Session, request: JobRequest) -> Taken | None:
    """By the newest of the project's jobs that succeeded with the same student, teachers, method, data and batch; None
    if there is none among the last with these data.
    """
    # By the index alone: those of one state would have to be sought among all with these data.
    filters = JobFilters(dataset=request.dataset.uri)
    for job in listing.page(session, limit=_LOOKED_AT, filters=filters).jobs:
        if _is_like(job, request):
            return _taken(session, job, request)
    return None


def _is_like(job: Job, request: JobRequest) -> bool:
    spec: dict[str, Any] = job.spec
    wanted = request.model_dump(mode="json", include={"student", "teacher", "teachers"})
    return (
        job.state is JobState.SUCCEEDED
        and job.method == request.method.kind
        and all(spec.get(name) == part for name, part in wanted.items())
        and spec["training"]["batch_size"] == request.training.batch_size
    )


def _taken(session: Session, job: Job, request: JobRequest) -> Taken:
    told = events.resolved(session, job.id) or {}
    planned = told.get("estimate") or {}
    took = (job.result or {}).get("training_seconds") or planned.get("seconds")
    share = request.training.epochs / job.spec["training"]["epochs"]
    stored = sum(row.size for row in artifacts.of_job(session, job.id))
    return Taken(
        job_id=job.id,
        seconds=None if took is None else took * share,
        memory_bytes=planned.get("memory_bytes"),
        disk_bytes=stored + int(planned.get("store_bytes", 0) * share),
    )
