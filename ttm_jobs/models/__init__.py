"""The tables. Importing this package registers all of them with `Base.metadata`."""

from ttm_jobs.models.artifact import Artifact
from ttm_jobs.models.attempt import Attempt
from ttm_jobs.models.base import Base
from ttm_jobs.models.checkpoint import Checkpoint
from ttm_jobs.models.job import Job
from ttm_jobs.models.job_event import JobEvent
from ttm_jobs.models.metric import Metric
from ttm_jobs.models.outbox import OutboxMessage
from ttm_jobs.models.upload import Upload, UploadState
from ttm_jobs.models.worker import Worker

__all__ = [
    "Artifact",
    "Attempt",
    "Base",
    "Checkpoint",
    "Job",
    "JobEvent",
    "Metric",
    "OutboxMessage",
    "Upload",
    "UploadState",
    "Worker",
]
