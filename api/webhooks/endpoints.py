"""Routes of webhooks."""

from fastapi import APIRouter
from starlette.responses import Response

from api.dependencies import AdminDep, EngineDep, SettingsDep
from api.http.errors import InvalidCursor, InvalidRequest
from api.http.idempotency import OnceDep, located
from api.http.json_bodies import BODY_REFUSALS, JsonRoute
from api.http.pagination import CursorParameter, Limit
from api.http.problems import problems
from api.http.types import WebhookId
from api.webhooks import service
from api.webhooks.schemas import (
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
    Forbidden,
    IdempotencyKeyReused,
    RequestInFlight,
    TooManyWebhooks,
    UriNotAllowed,
    WebhookNotFound,
)
from ttm_jobs.repositories import webhooks

router = APIRouter(prefix="/webhooks", tags=["webhooks"], route_class=JsonRoute)


@router.post(
    "",
    operation_id="webhooks_create",
    summary="Be told of the project's jobs",
    status_code=201,
    response_model=NewWebhookOut,
    responses=located("the webhook")
    | problems(
        Forbidden, TooManyWebhooks, UriNotAllowed, IdempotencyKeyReused, RequestInFlight, InvalidRequest, *BODY_REFUSALS
    ),
)
def webhooks_create(
    request: WebhookRequest, once: OnceDep, caller: AdminDep, engine: EngineDep, settings: SettingsDep
) -> Response:
    """Each change of a job's state is sent as a POST, in the form of Standard Webhooks: the headers `webhook-id`,
    `webhook-timestamp` and `webhook-signature` (v1, HMAC-SHA256 with the secret that is shown now). Anything but 2xx
    within seconds is tried again, ten times over most of a day, under the same `webhook-id`; order is not kept, and one
    may come twice. MethodRequirements a key of scope admin."""
    return once.answer(engine, request, lambda session: service.create(session, settings, request), _location)


@router.get("", operation_id="webhooks_list", summary="List the project's webhooks")
def webhooks_list(engine: EngineDep) -> WebhookList:
    """With what became of them lately; without their secrets."""
    with read_scope(engine) as session:
        return service.every(session)


@router.get("/{webhook_id}", operation_id="webhooks_get", summary="Show a webhook", responses=problems(WebhookNotFound))
def webhooks_get(webhook_id: WebhookId, engine: EngineDep) -> WebhookOut:
    """Without its secret."""
    with read_scope(engine) as session:
        return service.get(session, webhook_id)


@router.patch(
    "/{webhook_id}",
    operation_id="webhooks_update",
    summary="Change, disable or enable a webhook",
    responses=problems(Forbidden, WebhookNotFound, UriNotAllowed, InvalidRequest, *BODY_REFUSALS),
)
def webhooks_update(
    webhook_id: WebhookId, wanted: WebhookPatch, caller: AdminDep, engine: EngineDep, settings: SettingsDep
) -> WebhookOut:
    """What is left out stays. One that failed for days is disabled by itself; `enabled: true` has it told again. MethodRequirements
    a key of scope admin."""
    with session_scope(engine) as session:
        return service.patch(session, settings, webhook_id, wanted)


@router.delete(
    "/{webhook_id}",
    operation_id="webhooks_delete",
    summary="Remove a webhook",
    status_code=204,
    responses=problems(Forbidden, WebhookNotFound),
)
def webhooks_delete(webhook_id: WebhookId, caller: AdminDep, engine: EngineDep) -> None:
    """With the record of its deliveries; what is still on its way is not sent. MethodRequirements a key of scope admin."""
    with session_scope(engine) as session:
        webhooks.remove(session, webhook_id)


@router.post(
    "/{webhook_id}/rotate",
    operation_id="webhooks_rotate",
    summary="Give a webhook a new secret",
    responses=problems(Forbidden, WebhookNotFound),
)
def webhooks_rotate(webhook_id: WebhookId, caller: AdminDep, engine: EngineDep) -> NewWebhookOut:
    """For a day messages carry a signature by the old secret beside that by the new one. MethodRequirements a key of scope admin."""
    with session_scope(engine) as session:
        return service.rotate(session, webhook_id)


@router.post(
    "/{webhook_id}/ping",
    operation_id="webhooks_ping",
    summary="Try a webhook",
    status_code=202,
    responses=problems(Forbidden, WebhookNotFound),
)
def webhooks_ping(webhook_id: WebhookId, caller: AdminDep, engine: EngineDep) -> DeliveryOut:
    """Sends a `webhook.ping`; how that went is among the deliveries within seconds. MethodRequirements a key of scope admin."""
    with session_scope(engine) as session:
        return service.ping(session, webhook_id)


@router.get(
    "/{webhook_id}/deliveries",
    operation_id="webhooks_deliveries",
    summary="List what a webhook was told",
    responses=problems(WebhookNotFound, InvalidRequest, InvalidCursor),
)
def webhooks_deliveries(
    webhook_id: WebhookId, engine: EngineDep, limit: Limit = 50, cursor: CursorParameter = None
) -> DeliveryPage:
    """Newest first, each with its tries and what the receiver answered."""
    with read_scope(engine) as session:
        return service.deliveries(session, webhook_id, limit=limit, cursor=cursor)


def _location(webhook: NewWebhookOut) -> str:
    return f"/webhooks/{webhook.id}"
