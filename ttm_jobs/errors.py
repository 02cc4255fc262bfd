"""Errors of the service. Each has an HTTP status and a stable code; the message is for people."""

from typing import ClassVar


class ServiceError(Exception):
    """Base of all errors of the service."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    @property
    def message(self) -> str:
        return str(self) or " ".join((self.__doc__ or "").split())


class NotFound(ServiceError):
    """The resource does not exist."""

    status = 404
    code = "not_found"


class JobNotFound(NotFound):
    """The job does not exist."""

    code = "job_not_found"


class AmbiguousJob(ServiceError):
    """More than one job matches. Use the full id."""

    status = 409
    code = "ambiguous_job"


class AmbiguousStudy(ServiceError):
    """More than one study matches. Use the full id."""

    status = 409
    code = "ambiguous_study"


class UploadNotFound(NotFound):
    """The upload does not exist."""

    code = "upload_not_found"


class ArtifactNotFound(NotFound):
    """The job has no such artifact."""

    code = "artifact_not_found"


class ObjectNotFound(NotFound):
    """The storage has no such object."""

    code = "object_not_found"


class ProjectNotFound(NotFound):
    """The project does not exist."""

    code = "project_not_found"


class KeyNotFound(NotFound):
    """The API key does not exist."""

    code = "key_not_found"


class WebhookNotFound(NotFound):
    """The webhook does not exist."""

    code = "webhook_not_found"


class ViewNotFound(NotFound):
    """No view of this list is saved under this name."""

    code = "view_not_found"


class DeliveryNotFound(NotFound):
    """The webhook has no such delivery. Deliveries are stored for two weeks."""

    code = "delivery_not_found"


class MeasurementRequestNotFound(NotFound):
    """The measurement request does not exist."""

    code = "measurement_request_not_found"


class TeacherNotFound(NotFound):
    """No teacher has this name and version."""

    code = "teacher_not_found"


class DatasetNotFound(NotFound):
    """No dataset has this name and version."""

    code = "dataset_not_found"


class Unauthorized(ServiceError):
    """An API key is required: send `Authorization: Bearer KEY`."""

    status = 401
    code = "unauthorized"


class Forbidden(ServiceError):
    """The scope does not allow this."""

    status = 403
    code = "forbidden"


class QuotaExceeded(ServiceError):
    """The project has reached one of its limits."""

    status = 403
    code = "quota_exceeded"


class TooManyWebhooks(ServiceError):
    """The project is at its limit of webhooks."""

    status = 403
    code = "too_many_webhooks"


class TooManyViews(ServiceError):
    """The project is at its limit of saved views."""

    status = 403
    code = "too_many_views"


class RateLimited(ServiceError):
    """Too many requests with this key: wait for the time in `Retry-After`."""

    status = 429
    code = "rate_limited"


class TooManyFailedSignIns(ServiceError):
    """Too many failed sign-ins from this address: wait for the time in `Retry-After`."""

    status = 429
    code = "too_many_failed_sign_ins"


class Conflict(ServiceError):
    """The resource's state does not allow the request."""

    status = 409
    code = "conflict"


class InvalidTransition(Conflict):
    """The job's state does not allow this transition."""

    code = "invalid_transition"


class JobNotCancellable(Conflict):
    """A finished job cannot be cancelled."""

    code = "job_not_cancellable"


class TooManyTags(Conflict):
    """The job would have too many tags."""

    code = "too_many_tags"


class WebhookDisabled(Conflict):
    """The webhook is disabled. Enable it with `enabled: true` first."""

    code = "webhook_disabled"


class JobNotPausable(Conflict):
    """Only a queued or running job can be paused."""

    code = "job_not_pausable"


class JobNotResumable(Conflict):
    """Only a paused job can be resumed."""

    code = "job_not_resumable"


class JobNotRetryable(Conflict):
    """Only a failed or cancelled job that trains a student can be retried."""

    code = "job_not_retryable"


class JobNotFinished(Conflict):
    """The job has not succeeded, so it has no student."""

    code = "job_not_finished"


class StudyNotFound(NotFound):
    """The study does not exist."""

    code = "study_not_found"


class StudyNotCancellable(Conflict):
    """The study has ended."""

    code = "study_not_cancellable"


class StudyNotPausable(Conflict):
    """Only a running study can be paused."""

    code = "study_not_pausable"


class StudyNotResumable(Conflict):
    """Only a paused study can be resumed."""

    code = "study_not_resumable"


class StudyNotFinished(Conflict):
    """The study has no recommendation yet, or ended without one."""

    code = "study_not_finished"


class StudyNotDeletable(Conflict):
    """Only a study that has ended, with all its jobs, can be deleted: cancel it first."""

    code = "study_not_deletable"


class JobNotDeletable(Conflict):
    """Only a finished job can be deleted: cancel it first."""

    code = "job_not_deletable"


class RequestInFlight(Conflict):
    """A request with this Idempotency-Key is being processed: retry shortly."""

    code = "request_in_flight"


class UploadNotComplete(Conflict):
    """The upload is not complete."""

    code = "upload_not_complete"


class UploadOffsetWrong(Conflict):
    """The offset is not the upload's current size: request its offset with HEAD."""

    code = "upload_offset_wrong"


class LeaseLost(Conflict):
    """The lease is no longer valid: its holder must not write."""

    code = "lease_lost"


class Invalid(ServiceError):
    """The input is invalid."""

    status = 422
    code = "invalid_input"


class InvalidValue(Invalid):
    """The request contains a value that the database cannot store."""

    code = "invalid_value"


class IdempotencyKeyReused(Invalid):
    """The Idempotency-Key was used for a different request."""

    code = "idempotency_key_reused"


class UriNotAllowed(Invalid):
    """The URI is not allowed."""

    code = "uri_not_allowed"


class InvalidName(Invalid):
    """A name has at most 100 lowercase letters, digits, dots, hyphens and underscores, and starts with a letter or
    digit.
    """

    code = "invalid_name"


class ChecksumMismatch(Invalid):
    """The bytes do not have the announced SHA-256."""

    code = "checksum_mismatch"


class MeasurementMismatch(Invalid):
    """The measurement is not of the requested file, batch size and number of threads."""

    code = "measurement_mismatch"


class PartChecksumMismatch(ServiceError):
    """The bytes do not match the checksum and were discarded."""

    # Defined by tus 1.0.
    status = 460
    code = "part_checksum_mismatch"


class UploadExpired(ServiceError):
    """The upload expired."""

    status = 410
    code = "upload_expired"


class TooLarge(ServiceError):
    """The body is larger than this service accepts."""

    status = 413
    code = "too_large"


class StorageFull(ServiceError):
    """The storage is full."""

    status = 507
    code = "storage_full"


class StorageUnreachable(ServiceError):
    """The object store is unavailable; a retry may succeed."""

    status = 503
    code = "storage_unreachable"


class StorageForbidden(StorageUnreachable):
    """The object store rejects this process's credentials or does not permit the operation."""


class SourceUnreachable(ServiceError):
    """The host of a URI is unavailable; a retry may succeed."""

    status = 502
    code = "source_unreachable"


class SourceRefused(Invalid):
    """The host of a URI returned an unusable response."""

    code = "source_refused"


class FetchStopped(ServiceError):
    """The download was stopped because its job is stopping."""

    status = 503
    code = "fetch_stopped"
