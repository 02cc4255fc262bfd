"""Schemas of API keys."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from api.http.types import SOME_TEXT, UtcDatetime
from ttm_core.spec.base import StrictModel
from ttm_jobs.models import Scope


class KeyRequest(StrictModel):
    """A new API key."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "ops", "scope": "admin"}})

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=SOME_TEXT)] = Field(
        description="Name of the key, for example of the user or the script that uses it."
    )
    scope: Scope = Field(
        Scope.SUBMIT,
        strict=False,  # JSON has no enumerations
        description="`measure`: only download and measure ONNX artifacts; `read`: read everything; `submit`: also "
        "submit and change jobs; `admin`: also manage keys and webhooks. The first key of the service must be `admin`.",
    )
    expires_at: UtcDatetime | None = Field(None, description="When the key expires, with a time zone. Default: never.")


class KeyOut(BaseModel):
    """An API key, without its secret."""

    id: str
    name: str
    prefix: str = Field(description="The first characters of the secret, to recognize the key.")
    project: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="Accurate to ten minutes; null if never used.")


class NewKeyOut(KeyOut):
    """A new API key with its secret."""

    secret: str = Field(description="The key. It is not shown again.")


class KeyList(BaseModel):
    """All API keys of the project, oldest first. The list is not paginated."""

    items: list[KeyOut]
