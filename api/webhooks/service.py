"""Decisions about webhooks."""

from typing import Any

from sqlalchemy.orm import Session

from api.http.pagination import decode_cursor, decode_time_cursor, encode_cursor, encode_time_cursor
from api.http.problems import FieldError, Refusal
from api.webhooks.schemas import DeliveryOut, DeliveryPage, NewWebhookOut, WebhookList, WebhookOut, WebhookPatch
from api.webhooks.schemas import WebhookRequest as Request
from ttm_jobs.errors import UriNotAllowed
from ttm_jobs.models import Webhook, WebhookDelivery
from ttm_jobs.repositories import webhooks
from ttm_jobs.settings import Settings
from ttm_jobs.uris import HttpUri, is_public, parse_uri

_CURSOR = "deliveries"


def create(session: Session, settings: Settings, request: Request) -> NewWebhookOut:
    """With its secret. Refusal for an address that is never written to; TooManyWebhooks."""
    _check(settings, request.url)
    return _with_secret(
        webhooks.create(session, url=request.url, events=request.events, description=request.description)
    )


def every(session: Session) -> WebhookList:
    """The webhooks of the caller's project."""
    return WebhookList(items=[_view(webhook) for webhook in webhooks.list_all(session)])


def get(session: Session, webhook_id: str) -> WebhookOut:
    """WebhookNotFound."""
    return _view(webhooks.get(session, webhook_id))


def patch(session: Session, settings: Settings, webhook_id: str, wanted: WebhookPatch) -> WebhookOut:
    """Changes what is given. WebhookNotFound; Refusal."""
    webhook = webhooks.get(session, webhook_id)
    given = wanted.model_fields_set
    _check(settings, wanted.url if "url" in given else webhook.url)
    if "url" in given:
        webhook.url = wanted.url
    if "events" in given:
        webhook.events = sorted(set(wanted.events))
    if "description" in given:
        webhook.description = wanted.description
    if "enabled" in given:
        webhooks.enable(session, webhook_id, enabled=wanted.enabled)
    session.flush()
    return _view(webhook)


def rotate(session: Session, webhook_id: str) -> NewWebhookOut:
    """WebhookNotFound."""
    return _with_secret(webhooks.rotate(session, webhook_id))


def ping(session: Session, webhook_id: str) -> DeliveryOut:
    """WebhookNotFound."""
    return _delivery(webhooks.ping(session, webhook_id))


def deliveries(session: Session, webhook_id: str, *, limit: int, cursor: str | None) -> DeliveryPage:
    """A page of what a webhook was told, newest first. WebhookNotFound."""
    before = None if cursor is None else decode_cursor(_CURSOR, cursor, decode_time_cursor)
    found = webhooks.deliveries(session, webhook_id, limit=limit + 1, before=before)
    has_more = len(found) > limit
    items = found[:limit]
    following = encode_cursor(_CURSOR, encode_time_cursor(items[-1].created_at, items[-1].id)) if has_more else None
    return DeliveryPage(items=[_delivery(row) for row in items], next_cursor=following, has_more=has_more)


def _check(settings: Settings, url: str) -> None:
    try:
        _check_address(settings, url)
    except UriNotAllowed as error:
        raise Refusal((error, FieldError(pointer="/url", detail=error.message))) from None


def _check_address(settings: Settings, url: str) -> None:
    # What the host's name resolves to is looked at whenever a webhook is sent.
    uri = parse_uri(url)
    if not isinstance(uri, HttpUri) or uri.sha256 is not None:
        raise UriNotAllowed("A webhook's address is https://HOST/PATH.")
    if f"{uri.host}:{uri.port}" in settings.private_hosts:
        return
    if uri.scheme != "https":
        raise UriNotAllowed("A webhook's address is https://; the operator allows http:// to single hosts.")
    try:
        public = is_public(uri.host.strip("[]"))
    except ValueError:
        public = uri.host != "localhost"  # a name
    if not public:
        raise UriNotAllowed(f"{uri.host} resolves to an address that is not public.")


def _view(webhook: Webhook) -> WebhookOut:
    return WebhookOut(**_fields(webhook))


def _with_secret(webhook: Webhook) -> NewWebhookOut:
    return NewWebhookOut(**_fields(webhook), secret=webhook.secret)


def _fields(webhook: Webhook) -> dict[str, Any]:
    names = ("id", "url", "events", "description", "disabled_at", "disabled_reason", "failing_since", "created_at")
    return {"enabled": webhook.disabled_at is None, **{name: getattr(webhook, name) for name in names}}


def _delivery(row: WebhookDelivery) -> DeliveryOut:
    return DeliveryOut(**{name: getattr(row, name) for name in DeliveryOut.model_fields})
