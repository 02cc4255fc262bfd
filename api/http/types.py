"""Ids in paths and addresses: looked at before the database is, since not every database takes every string."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from ttm_jobs.errors import ArtifactNotFound, JobNotFound, KeyNotFound, ServiceError, UploadNotFound, WebhookNotFound

_ID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_id(value: object) -> bool:
    """Whether a value has the form of the ids that this service gives."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _checked(right: Callable[[str], bool], refusal: type[ServiceError]) -> AfterValidator:
    def check(value: str) -> str:
        # Not a fault of form but a thing that does not exist: 404, as for any id that nobody was given.
        if not right(value):
            raise refusal
        return value

    return AfterValidator(check)


JobId = Annotated[str, Path(description="The job's id."), _checked(is_id, JobNotFound)]
KeyId = Annotated[str, Path(description="The key's id."), _checked(is_id, KeyNotFound)]
UploadId = Annotated[str, Path(description="The upload's id."), _checked(is_id, UploadNotFound)]
WebhookId = Annotated[str, Path(description="The webhook's id."), _checked(is_id, WebhookNotFound)]
ArtifactName = Annotated[str, Path(description="The artifact's name."), _checked(str.isprintable, ArtifactNotFound)]


def _no_number(value: Any) -> Any:
    # pydantic would take one for the seconds since 1970, which the schema does not say.
    if isinstance(value, int | float) or (isinstance(value, str) and "-" not in value[1:]):
        raise ValueError("a time is written as 2026-01-31T12:00:00Z")
    return value


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time lies outside of the calendar in UTC") from None


# ISO 8601 with its zone.
UtcDatetime = Annotated[AwareDatetime, BeforeValidator(_no_number), AfterValidator(_in_utc)]
