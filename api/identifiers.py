"""Ids in paths and addresses: looked at before the database is, since not every database takes every string."""

import re
from collections.abc import Callable
from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator

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
