"""The tables. Importing this package registers all of them with `Base.metadata`."""

from ttm_jobs.models.api_key import ApiKey, Scope
from ttm_jobs.models.artifact import Artifact
from ttm_jobs.models.attempt import Attempt
from ttm_jobs.models.audit_entry import AuditEntry
from ttm_jobs.models.base import Base
from ttm_jobs.models.checkpoint import Checkpoint
from ttm_jobs.models.device import Device
from ttm_jobs.models.idempotency_key import IdempotencyKey
from ttm_jobs.models.job import Job
from ttm_jobs.models.job_event import JobEvent
from ttm_jobs.models.job_tag import JobTag
from ttm_jobs.models.measurement import Measurement
from ttm_jobs.models.measurement_request import MeasurementRequest, RequestState
from ttm_jobs.models.metric import Metric
from ttm_jobs.models.outbox import OutboxMessage
from ttm_jobs.models.project import DEFAULT_PROJECT, Owned, Project
from ttm_jobs.models.project_event import ProjectEvent, ProjectStream
from ttm_jobs.models.project_storage import ProjectStorage
from ttm_jobs.models.registry_entry import RegistryEntry
from ttm_jobs.models.saved_view import SavedView
from ttm_jobs.models.server_secret import ServerSecret
from ttm_jobs.models.sign_in_failures import SignInFailures
from ttm_jobs.models.sign_in_session import SignInSession
from ttm_jobs.models.study import Study, StudyCandidate, StudyEvent
from ttm_jobs.models.teacher_store import TeacherStore, TeacherStoreUse
from ttm_jobs.models.upload import Upload, UploadPart, UploadState
from ttm_jobs.models.webhook import DeliveryState, Webhook, WebhookDelivery
from ttm_jobs.models.worker import Worker

__all__ = [
    "DEFAULT_PROJECT",
    "ApiKey",
    "Artifact",
    "Attempt",
    "AuditEntry",
    "Base",
    "Checkpoint",
    "DeliveryState",
    "Device",
    "IdempotencyKey",
    "Job",
    "JobEvent",
    "JobTag",
    "Measurement",
    "MeasurementRequest",
    "Metric",
    "OutboxMessage",
    "Owned",
    "Project",
    "ProjectEvent",
    "ProjectStorage",
    "ProjectStream",
    "RegistryEntry",
    "RequestState",
    "SavedView",
    "Scope",
    "ServerSecret",
    "SignInFailures",
    "SignInSession",
    "Study",
    "StudyCandidate",
    "StudyEvent",
    "TeacherStore",
    "TeacherStoreUse",
    "Upload",
    "UploadPart",
    "UploadState",
    "Webhook",
    "WebhookDelivery",
    "Worker",
]
