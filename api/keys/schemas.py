"""What a key looks like to a client."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from api.http.types import UtcDatetime
from ttm_core.spec.base import StrictModel
from ttm_jobs.models import Scope


class KeyRequest(StrictModel):
    """A key for somebody or something of the project."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "nightly", "scope": "submit"}})

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    scope: Scope = Field(
        Scope.SUBMIT, description="read: look; submit: also submit and change jobs; admin: also make and revoke keys."
    )
    expires_at: UtcDatetime | None = Field(None, description="With its zone; never, when left out.")


class KeyOut(BaseModel):
    """A key without its secret."""

    id: str
    name: str
    prefix: str = Field(description="The beginning of the secret, by which to know it again.")
    project: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To within ten minutes.")


class NewKeyOut(KeyOut):
    """A key that was just made."""

    secret: str = Field(description="Shown now and never again.")


class KeyList(BaseModel):
    """Every key of the project, oldest first; there are few, so the list has no pages."""

    items: list[KeyOut]
