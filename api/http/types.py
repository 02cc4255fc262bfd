"""Parameter types. Ids are validated before they reach the database, which does not accept every string."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from ttm_jobs.errors import (
    ArtifactNotFound,
    DeliveryNotFound,
    JobNotFound,
    KeyNotFound,
    MeasurementRequestNotFound,
    ServiceError,
    StudyNotFound,
    UploadNotFound,
    WebhookNotFound,
)

# Names, descriptions, paths and filters have the same rule, so that every accepted name is found. `str.isprintable`
# would also refuse what names contain: the joiners of emoji and of several scripts, and spaces other than " ".
SOME_TEXT = r"^[^\x00-\x1f\x7f]+$"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_id(value: object) -> bool:
    """Whether a value has the format of this service's ids."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def has_no_controls(text: str) -> bool:
    """Whether a text has no control characters."""
    return _CONTROL.search(text) is None


def without_controls(text: str) -> str:
    """The text with a replacement character for each control character."""
    return _CONTROL.sub("\ufffd", text)


def _is_reference(text: str) -> bool:
    return has_no_controls(text) and len(text) <= 200


def _checked(is_valid: Callable[[str], bool], error: type[ServiceError]) -> AfterValidator:
    def check(value: str) -> str:
        # A malformed id is 404, the same as an unknown id.
        if not is_valid(value):
            raise error
        return value

    return AfterValidator(check)


JobId = Annotated[str, Path(description="Id of the job."), _checked(is_id, JobNotFound)]
JobReference = Annotated[
    str,
    Path(description="Id of the job, a unique prefix of it (at least four characters), or the unique name of a job."),
    _checked(_is_reference, JobNotFound),
]
KeyId = Annotated[str, Path(description="Id of the key."), _checked(is_id, KeyNotFound)]
StudyId = Annotated[str, Path(description="Id of the study."), _checked(is_id, StudyNotFound)]
StudyReference = Annotated[
    str,
    Path(
        description="Id of the study, a unique prefix of it (at least four characters), or the unique name of a study."
    ),
    _checked(_is_reference, StudyNotFound),
]
UploadId = Annotated[str, Path(description="Id of the upload."), _checked(is_id, UploadNotFound)]
MeasurementRequestId = Annotated[
    str, Path(description="Id of the measurement request."), _checked(is_id, MeasurementRequestNotFound)
]
WebhookId = Annotated[str, Path(description="Id of the webhook."), _checked(is_id, WebhookNotFound)]
DeliveryId = Annotated[str, Path(description="Id of the delivery."), _checked(is_id, DeliveryNotFound)]
ArtifactName = Annotated[str, Path(description="Name of the artifact."), _checked(has_no_controls, ArtifactNotFound)]


def _reject_controls(value: str) -> str:
    if not has_no_controls(value):
        raise ValueError("control characters are not allowed")
    return value


# Text to search for: no field has control characters.
NoControls = AfterValidator(_reject_controls)


def _reject_number(value: Any) -> Any:
    # pydantic would accept a number as seconds since 1970, which the schema does not document.
    if isinstance(value, int | float) or (isinstance(value, str) and "-" not in value[1:]):
        raise ValueError("a time must be in ISO 8601 format with a time zone, such as 2026-01-31T12:00:00Z")
    return value


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is outside the supported range in UTC") from None


# ISO 8601 with a time zone. JSON has no times, so a strict model must accept the string.
UtcDatetime = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_reject_number), AfterValidator(_in_utc)]
