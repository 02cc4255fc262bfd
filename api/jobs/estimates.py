"""Estimates of a job's time, memory and disk space from a similar job."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from api.jobs.schemas import JobRequest
from ttm_core.spec.training.training import default_epochs
from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs import listing
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.repositories.run_data import artifacts, events
from ttm_jobs.states import JobState

_MAX_CANDIDATES = 200


@dataclass(frozen=True)
class Estimate:
    """The resources of a similar job, with the time scaled by the number of epochs. None if it did not report a
    value.
    """

    job_id: str
    seconds: float | None
    memory_bytes: int | None
    disk_bytes: int


def estimate(session: Session, request: JobRequest) -> Estimate | None:
    """An estimate from the most recent succeeded job of the project with the same student, teachers, method, dataset
    and batch size. None if there is none among the most recent jobs with this dataset.
    """
    # Filtering by state as well would not use the index on the dataset.
    filters = JobFilters(dataset=request.dataset.uri)
    for job in listing.page(session, limit=_MAX_CANDIDATES, filters=filters).jobs:
        if _is_similar(job, request):
            return _estimate(session, job, request)
    return None


def _is_similar(job: Job, request: JobRequest) -> bool:
    spec: dict[str, Any] = job.spec
    models = request.model_dump(mode="json", include={"student", "teacher", "teachers"})
    return (
        job.state is JobState.SUCCEEDED
        and job.method == request.method.kind
        and all(spec.get(name) == part for name, part in models.items())
        and spec["training"]["batch_size"] == request.training.batch_size
        and spec["training"].get("unlabelled_ratio") == request.training.unlabelled_ratio
        and spec["dataset"].get("unlabelled", []) == request.dataset.unlabelled
    )


def _epochs(request: JobRequest, similar: dict[str, Any]) -> int:
    """The epochs of a request, by default those for the images of a similar job with this `resolved` event."""
    return request.training.epochs or default_epochs(similar.get("train_images", 0))


def _estimate(session: Session, job: Job, request: JobRequest) -> Estimate:
    resolved = events.resolved(session, job.id) or {}
    planned = resolved.get("estimate") or {}
    seconds = (job.result or {}).get("training_seconds") or planned.get("seconds")
    training = (job.resolved_spec or job.spec)["training"]
    share = _epochs(request, resolved) / training["epochs"] if training["epochs"] else 1.0
    stored = sum(row.size for row in artifacts.of_job(session, job.id))
    return Estimate(
        job_id=job.id,
        seconds=None if seconds is None else seconds * share,
        memory_bytes=planned.get("memory_bytes"),
        disk_bytes=stored + int(planned.get("store_bytes", 0) * share),
    )
