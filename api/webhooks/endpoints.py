"""Routes of webhooks."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dependencies import AdminDep, EngineDep, SettingsDep
from api.http.errors import InvalidCursor, InvalidRequest
from api.http.idempotency import IdempotencyDep, location_header
from api.http.json_bodies import BODY_ERRORS, JsonRoute
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.http.types import DeliveryId, UtcDatetime, WebhookId
from api.webhooks import service
from api.webhooks.schemas import (
    DeliveriesReplayed,
    DeliveryOut,
    DeliveryPage,
    NewWebhookOut,
    WebhookList,
    WebhookOut,
    WebhookPatch,
    WebhookRequest,
)
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import (
    DeliveryNotFound,
    Forbidden,
    IdempotencyKeyReused,
    RequestInFlight,
    TooManyWebhooks,
    UriNotAllowed,
    WebhookDisabled,
    WebhookNotFound,
)
from ttm_jobs.repositories.webhooks import crud as webhook_crud
from ttm_jobs.repositories.webhooks import deliveries as webhook_deliveries

router = APIRouter(prefix="/webhooks", tags=["webhooks"], route_class=JsonRoute)


@router.post(
    "",
    operation_id="webhooks_create",
    summary="Create a webhook",
    status_code=201,
    response_model=NewWebhookOut,
    responses=location_header("the webhook")
    | problems(
        Forbidden, TooManyWebhooks, UriNotAllowed, IdempotencyKeyReused, RequestInFlight, InvalidRequest, *BODY_ERRORS
    ),
)
def webhooks_create(
    request: WebhookRequest, idempotent: IdempotencyDep, caller: AdminDep, engine: EngineDep, settings: SettingsDep
) -> Response:
    """Creates a webhook for state changes of the project's jobs and studies. Messages follow Standard Webhooks: a POST
    with the headers `webhook-id`, `webhook-timestamp` and `webhook-signature` (v1, HMAC-SHA256 with the returned
    secret). A response other than 2xx, or none within seconds, is retried up to ten times over most of a day with the
    same `webhook-id`. Messages may arrive out of order or more than once. Requires scope `admin`.
    """
    return idempotent.respond(engine, request, lambda session: service.create(session, settings, request), _location)


@router.get("", operation_id="webhooks_list", summary="List the project's webhooks")
def webhooks_list(engine: EngineDep) -> WebhookList:
    """All webhooks with their state, without secrets."""
    with read_scope(engine) as session:
        return service.list_all(session)


@router.get("/{webhook_id}", operation_id="webhooks_get", summary="Show a webhook", responses=problems(WebhookNotFound))
def webhooks_get(webhook_id: WebhookId, engine: EngineDep) -> WebhookOut:
    """A webhook, without its secret."""
    with read_scope(engine) as session:
        return service.get(session, webhook_id)


@router.patch(
    "/{webhook_id}",
    operation_id="webhooks_update",
    summary="Change, disable or enable a webhook",
    responses=problems(Forbidden, WebhookNotFound, UriNotAllowed, InvalidRequest, *BODY_ERRORS),
)
def webhooks_update(
    webhook_id: WebhookId, changes: WebhookPatch, caller: AdminDep, engine: EngineDep, settings: SettingsDep
) -> WebhookOut:
    """Changes a webhook. Omitted fields are unchanged. A webhook that fails for days is disabled automatically;
    enable it again with `enabled: true`. Requires scope `admin`.
    """
    with session_scope(engine) as session:
        return service.patch(session, settings, webhook_id, changes)


@router.delete(
    "/{webhook_id}",
    operation_id="webhooks_delete",
    summary="Delete a webhook",
    status_code=204,
    responses=problems(Forbidden, WebhookNotFound),
)
def webhooks_delete(webhook_id: WebhookId, caller: AdminDep, engine: EngineDep) -> None:
    """Deletes a webhook and its deliveries. Pending messages are not sent. Requires scope `admin`."""
    with session_scope(engine) as session:
        webhook_crud.remove(session, webhook_id)


@router.post(
    "/{webhook_id}/rotate",
    operation_id="webhooks_rotate",
    summary="Rotate a webhook's secret",
    responses=problems(Forbidden, WebhookNotFound),
)
def webhooks_rotate(webhook_id: WebhookId, caller: AdminDep, engine: EngineDep) -> NewWebhookOut:
    """Creates a new secret. For one day messages carry signatures of both secrets. Requires scope `admin`."""
    with session_scope(engine) as session:
        return service.rotate(session, webhook_id)


@router.post(
    "/{webhook_id}/ping",
    operation_id="webhooks_ping",
    summary="Send a test message",
    status_code=202,
    responses=problems(Forbidden, WebhookNotFound),
)
def webhooks_ping(webhook_id: WebhookId, caller: AdminDep, engine: EngineDep) -> DeliveryOut:
    """Enqueues the event `webhook.ping`. The result is listed in the deliveries within seconds. Requires scope
    `admin`.
    """
    with session_scope(engine) as session:
        return service.ping(session, webhook_id)


@router.get(
    "/{webhook_id}/deliveries",
    operation_id="webhooks_deliveries",
    summary="List a webhook's deliveries",
    responses=problems(WebhookNotFound, InvalidRequest, InvalidCursor),
)
def webhooks_deliveries(
    webhook_id: WebhookId, engine: EngineDep, limit: Limit = 50, cursor: CursorParameter = None
) -> DeliveryPage:
    """Deliveries with their attempts and the response of the receiver, newest first."""
    with read_scope(engine) as session:
        return service.deliveries(session, webhook_id, limit=limit, cursor=cursor)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    operation_id="webhooks_redeliver",
    summary="Send a delivery again",
    status_code=202,
    responses=problems(Forbidden, WebhookNotFound, DeliveryNotFound, WebhookDisabled),
)
def webhooks_redeliver(
    webhook_id: WebhookId, delivery_id: DeliveryId, caller: AdminDep, engine: EngineDep
) -> DeliveryOut:
    """Sends a delivery again with the same `webhook-id` and body and a new signature, with all retries, whether or not
    it arrived before. A pending delivery is unchanged. Requires scope `admin`.
    """
    with session_scope(engine) as session:
        return service.redeliver(session, webhook_id, delivery_id)


@router.post(
    "/{webhook_id}/replay",
    operation_id="webhooks_replay",
    summary="Send missed messages again",
    status_code=202,
    responses=problems(Forbidden, WebhookNotFound, WebhookDisabled, InvalidRequest),
)
def webhooks_replay(
    webhook_id: WebhookId,
    caller: AdminDep,
    engine: EngineDep,
    since: Annotated[
        UtcDatetime, Query(description="Only deliveries created at or after this time, in ISO 8601 with a time zone.")
    ],
) -> DeliveriesReplayed:
    """Sends the failed deliveries since a time again, oldest first and at most 1000, for example after the receiver was
    down. Events while the webhook was disabled are included. `webhook-id` and body are the same as before. Repeating
    the request does not repeat messages that are pending or have arrived. Requires scope `admin`.
    """
    with session_scope(engine) as session:
        return DeliveriesReplayed(deliveries=webhook_deliveries.replay(session, webhook_id, since=since))


def _location(webhook: NewWebhookOut) -> str:
    return f"/webhooks/{webhook.id}"
