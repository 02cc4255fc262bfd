"""The error tree: each error knows its HTTP status and its stable code; the message is for people."""

from typing import ClassVar


class ServiceError(Exception):
    """Anything this service refuses or cannot do."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    @property
    def message(self) -> str:
        return str(self) or (self.__doc__ or "").strip()


class NotFound(ServiceError):
    """There is no such thing."""

    status = 404
    code = "not_found"


class JobNotFound(NotFound):
    """There is no such job."""

    code = "job_not_found"


class UploadNotFound(NotFound):
    """There is no such upload."""

    code = "upload_not_found"


class ArtifactNotFound(NotFound):
    """The job has no such artifact."""

    code = "artifact_not_found"


class ObjectNotFound(NotFound):
    """The storage has no such object."""

    code = "object_not_found"


class KeyNotFound(NotFound):
    """There is no such key."""

    code = "key_not_found"


class WebhookNotFound(NotFound):
    """There is no such webhook."""

    code = "webhook_not_found"


class TeacherNotFound(NotFound):
    """There is no teacher of this name and version."""

    code = "teacher_not_found"


class DatasetNotFound(NotFound):
    """There is no dataset of this name and version."""

    code = "dataset_not_found"


class Unauthorized(ServiceError):
    """A valid key is needed: send `Authorization: Bearer KEY`."""

    status = 401
    code = "unauthorized"


class Forbidden(ServiceError):
    """The key's scope does not allow this."""

    status = 403
    code = "forbidden"


class QuotaExceeded(ServiceError):
    """The project has reached one of its limits."""

    status = 403
    code = "quota_exceeded"


class TooManyWebhooks(ServiceError):
    """The project has as many webhooks as it may."""

    status = 403
    code = "too_many_webhooks"


class RateLimited(ServiceError):
    """Too many requests with this key: wait for as long as `Retry-After` says."""

    status = 429
    code = "rate_limited"


class Conflict(ServiceError):
    """The thing is not in a state that allows this."""

    status = 409
    code = "conflict"


class IllegalMove(Conflict):
    """The job's state does not allow this."""

    code = "illegal_move"


class JobNotCancellable(Conflict):
    """A finished job cannot be cancelled."""

    code = "job_not_cancellable"


class JobNotPausable(Conflict):
    """Only a queued or running job can be paused."""

    code = "job_not_pausable"


class JobNotResumable(Conflict):
    """Only a paused job can be resumed."""

    code = "job_not_resumable"


class JobNotRetryable(Conflict):
    """Only a failed or cancelled job can be retried."""

    code = "job_not_retryable"


class JobNotFinished(Conflict):
    """The job has not succeeded, so there is no student yet."""

    code = "job_not_finished"


class JobNotDeletable(Conflict):
    """Only a job that has ended can be deleted: cancel it first."""

    code = "job_not_deletable"


class RequestInFlight(Conflict):
    """A request with this Idempotency-Key is being answered: ask again in a moment."""

    code = "request_in_flight"


class UploadNotComplete(Conflict):
    """The upload has not been received whole."""

    code = "upload_not_complete"


class UploadOffsetWrong(Conflict):
    """The bytes do not begin where the upload ends: ask for its offset."""

    code = "upload_offset_wrong"


class LeaseLost(Conflict):
    """Another worker holds this job, or nobody does: the holder of this lease must change nothing."""

    code = "lease_lost"


class Invalid(ServiceError):
    """The input is wrong: trying again changes nothing."""

    status = 422
    code = "invalid_input"


class IdempotencyKeyReused(Invalid):
    """Another request was sent with this Idempotency-Key."""

    code = "idempotency_key_reused"


class UriNotAllowed(Invalid):
    """The address is not one this service reads from."""

    code = "uri_not_allowed"


class InvalidName(Invalid):
    """A name has at most 100 small letters, digits, dots, hyphens, underscores, and begins with a letter or digit."""

    code = "invalid_name"


class ChecksumMismatch(Invalid):
    """The bytes are not those that were announced."""

    code = "checksum_mismatch"


class PartChecksumMismatch(ServiceError):
    """The bytes are not those of the checksum; none of them is kept."""

    # As tus 1.0 has it.
    status = 460
    code = "part_checksum_mismatch"


class UploadExpired(ServiceError):
    """The upload was not gone on with in time."""

    status = 410
    code = "upload_expired"


class TooLarge(ServiceError):
    """The body is larger than this service accepts."""

    status = 413
    code = "too_large"


class StorageFull(ServiceError):
    """The storage has no room left."""

    status = 507
    code = "storage_full"


class StorageUnreachable(ServiceError):
    """The object store does not answer as it should; trying again may help."""

    status = 503
    code = "storage_unreachable"


class SourceUnreachable(ServiceError):
    """The host of an address does not answer as it should; trying again may help."""

    status = 502
    code = "source_unreachable"


class SourceRefused(Invalid):
    """What the host of an address answers is of no use: trying again changes nothing."""

    code = "source_refused"


class FetchStopped(ServiceError):
    """The fetch was given up because its job is to stop."""

    status = 503
    code = "fetch_stopped"
