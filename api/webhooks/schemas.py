"""Schemas of webhooks."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.http.pagination import Page
from api.http.types import SOME_TEXT
from ttm_core.spec.base import StrictModel
from ttm_jobs.models import DeliveryState
from ttm_jobs.repositories.webhooks.deliveries import EVENTS


def _check_event(event: str) -> str:
    if event not in EVENTS:
        raise ValueError(f"unknown event {event!r}; the events are {', '.join(EVENTS)}")
    return event


EventName = Annotated[str, AfterValidator(_check_event), Field(json_schema_extra={"enum": list(EVENTS)})]
Description = Annotated[str, Field(min_length=1, max_length=200, pattern=SOME_TEXT)]
_EVENTS = "Events to send. Empty: all events."


class WebhookRequest(StrictModel):
    """A new webhook."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"url": "https://hooks.example.org/ttm", "events": ["job.succeeded"]}},
    )

    url: Annotated[str, Field(min_length=1, max_length=2048)] = Field(
        description="An https:// URL with a public address. The operator can allow other addresses."
    )
    events: Annotated[list[EventName], Field(max_length=len(EVENTS))] = Field([], description=_EVENTS)
    description: Description | None = None


def _remove_default(schema: dict[str, Any]) -> None:
    del schema["default"]


class WebhookPatch(StrictModel):
    """Changes of a webhook. Omitted fields are unchanged."""

    model_config = ConfigDict(json_schema_extra={"example": {"enabled": True}})

    # The default is never used: an omitted URL is unchanged. It violates the schema, so it is not part of it.
    url: Annotated[str, Field(min_length=1, max_length=2048)] = Field("", json_schema_extra=_remove_default)
    events: Annotated[list[EventName], Field(max_length=len(EVENTS))] = Field([], description=_EVENTS)
    description: Description | None = None
    enabled: bool = Field(
        True,
        description="`true` enables a disabled webhook. `POST /webhooks/{webhook_id}/replay` sends what it missed.",
    )


class WebhookOut(BaseModel):
    """A webhook, without its secret."""

    id: str
    url: str
    events: list[str] = Field(description=_EVENTS)
    description: str | None
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None = Field(
        description="Time since which all deliveries have failed; null if the last one succeeded."
    )
    created_at: datetime


class NewWebhookOut(WebhookOut):
    """A webhook with its new secret."""

    secret: str = Field(description="Secret for verifying signatures: `whsec_` and base64. It is not shown again.")


class WebhookList(BaseModel):
    """All webhooks of the project, oldest first. The list is not paginated."""

    items: list[WebhookOut]


class DeliveryOut(BaseModel):
    """A message to a webhook."""

    id: str = Field(description="The header `webhook-id`; the same for each attempt.")
    event: str
    state: DeliveryState
    attempts: int = Field(description="Number of attempts so far.")
    status: int | None = Field(description="HTTP status of the last attempt.")
    error: str | None = Field(description="Error of the last attempt, if there was no response.")
    created_at: datetime
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None = Field(description="Time of the next attempt.")
    body: str = Field(description="The signed body of the message.")


class DeliveriesReplayed(BaseModel):
    """The result of a replay."""

    deliveries: int = Field(description="Number of deliveries that are sent again. 1000: repeat the request.")


class DeliveryPage(Page[DeliveryOut]):
    """Deliveries, newest first. They are stored for two weeks."""
