"""What a webhook looks like to a client."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.http.pagination import Page
from ttm_core.spec.base import StrictModel
from ttm_jobs.models import DeliveryState
from ttm_jobs.repositories.webhooks import EVENTS


def _told(event: str) -> str:
    if event not in EVENTS:
        raise ValueError(f"there is no event {event!r}; there are {', '.join(EVENTS)}")
    return event


EventName = Annotated[str, AfterValidator(_told), Field(json_schema_extra={"enum": list(EVENTS)})]
Description = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
_EVENTS = "What to be told of; left empty, of everything."


class WebhookRequest(StrictModel):
    """Where to be told of the project's jobs."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"url": "https://hooks.example.org/ttm", "events": ["job.succeeded"]}},
    )

    url: Annotated[str, Field(min_length=1, max_length=2048)] = Field(
        description="https:// at a public address; other addresses must be allowed by the operator."
    )
    events: Annotated[list[EventName], Field(max_length=len(EVENTS))] = Field([], description=_EVENTS)
    description: Description | None = None


class WebhookPatch(StrictModel):
    """What of a webhook may be changed; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"example": {"enabled": True}})

    url: Annotated[str, Field(min_length=1, max_length=2048)] = ""
    events: Annotated[list[EventName], Field(max_length=len(EVENTS))] = Field([], description=_EVENTS)
    description: Description | None = None
    enabled: bool = Field(True, description="One that was disabled is told from now on, not of what it missed.")


class WebhookOut(BaseModel):
    """A webhook without its secret."""

    id: str
    url: str
    events: list[str] = Field(description=_EVENTS)
    description: str | None
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None = Field(description="Since when every delivery has failed.")
    created_at: datetime


class NewWebhookOut(WebhookOut):
    """A webhook whose secret was just made."""

    secret: str = Field(description="`whsec_` and base64; shown now and never again.")


class WebhookList(BaseModel):
    """Every webhook of the project, oldest first; there are few, so the list has no pages."""

    items: list[WebhookOut]


class DeliveryOut(BaseModel):
    """What a webhook was told, or is to be."""

    id: str = Field(description="As in `webhook-id`, the same at each try.")
    event: str
    state: DeliveryState
    attempts: int
    status: int | None = Field(description="What the receiver answered to the newest try.")
    error: str | None = Field(description="Why it did not answer.")
    created_at: datetime
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None = Field(description="When it is tried again.")
    body: str = Field(description="What is signed and sent.")


class DeliveryPage(Page[DeliveryOut]):
    """Deliveries, newest first; they are kept for two weeks."""
