"""Typed Python client of the model-compression service."""

from ttm_client.client import Client
from ttm_client.errors import (
    ApiError,
    ChecksumMismatch,
    ClientError,
    Conflict,
    ConnectionFailed,
    FieldError,
    InvalidRequest,
    NotFound,
    ServerError,
    Unavailable,
    WaitTimeout,
)
from ttm_client.models import (
    Accuracy,
    Architecture,
    Artifact,
    Failure,
    Job,
    JobEvent,
    JobSummary,
    MetricPoint,
    Progress,
    Upload,
)

__all__ = [
    "Accuracy",
    "ApiError",
    "Architecture",
    "Artifact",
    "ChecksumMismatch",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectionFailed",
    "Failure",
    "FieldError",
    "InvalidRequest",
    "Job",
    "JobEvent",
    "JobSummary",
    "MetricPoint",
    "NotFound",
    "Progress",
    "ServerError",
    "Unavailable",
    "Upload",
    "WaitTimeout",
]
