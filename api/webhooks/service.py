"""Webhooks: creation, changes and deliveries."""

from typing import Any

from sqlalchemy.orm import Session

from api.http.pagination import cut_page, decode_cursor, decode_time_cursor, encode_time_cursor
from api.http.problems import FieldError, FieldErrors
from api.webhooks.schemas import DeliveryOut, DeliveryPage, NewWebhookOut, WebhookList, WebhookOut, WebhookPatch
from api.webhooks.schemas import WebhookRequest as Request
from ttm_jobs.errors import UriNotAllowed
from ttm_jobs.models import Webhook, WebhookDelivery
from ttm_jobs.repositories.webhooks import crud as webhook_crud
from ttm_jobs.repositories.webhooks import deliveries as webhook_deliveries
from ttm_jobs.settings import Settings
from ttm_jobs.uris import HttpUri, is_public, parse_uri

_CURSOR = "deliveries"


def create(session: Session, settings: Settings, request: Request) -> NewWebhookOut:
    """Creates a webhook. Raises FieldErrors for a URL that is not allowed, and TooManyWebhooks."""
    _check(settings, request.url)
    return _with_secret(
        webhook_crud.create(session, url=request.url, events=request.events, description=request.description)
    )


def list_all(session: Session) -> WebhookList:
    """The webhooks of the caller's project."""
    return WebhookList(items=[_view(webhook) for webhook in webhook_crud.list_all(session)])


def get(session: Session, webhook_id: str) -> WebhookOut:
    """A webhook. Raises WebhookNotFound."""
    return _view(webhook_crud.get(session, webhook_id))


def patch(session: Session, settings: Settings, webhook_id: str, changes: WebhookPatch) -> WebhookOut:
    """Applies the given changes. Raises WebhookNotFound and FieldErrors."""
    webhook = webhook_crud.get(session, webhook_id)
    fields = changes.model_fields_set
    # A webhook whose URL the operator no longer allows can still be disabled and described.
    if "url" in fields or ("enabled" in fields and changes.enabled):
        _check(settings, changes.url if "url" in fields else webhook.url)
    if "url" in fields:
        webhook.url = changes.url
    if "events" in fields:
        webhook.events = sorted(set(changes.events))
    if "description" in fields:
        webhook.description = changes.description
    if "enabled" in fields:
        webhook_crud.enable(session, webhook_id, enabled=changes.enabled)
    session.flush()
    return _view(webhook)


def rotate(session: Session, webhook_id: str) -> NewWebhookOut:
    """A webhook with a new secret. Raises WebhookNotFound."""
    return _with_secret(webhook_crud.rotate(session, webhook_id))


def ping(session: Session, webhook_id: str) -> DeliveryOut:
    """Enqueues a test message. Raises WebhookNotFound."""
    return _delivery(webhook_deliveries.ping(session, webhook_id))


def redeliver(session: Session, webhook_id: str, delivery_id: str) -> DeliveryOut:
    """Sends a delivery again. Raises WebhookNotFound, DeliveryNotFound and WebhookDisabled."""
    return _delivery(webhook_deliveries.redeliver(session, webhook_id, delivery_id))


def deliveries(session: Session, webhook_id: str, *, limit: int, cursor: str | None) -> DeliveryPage:
    """A page of a webhook's deliveries, newest first. Raises WebhookNotFound."""
    before = None if cursor is None else decode_cursor(_CURSOR, cursor, decode_time_cursor)
    found = webhook_deliveries.list_all(session, webhook_id, limit=limit + 1, before=before)
    rows, following = cut_page(_CURSOR, found, limit, lambda row: encode_time_cursor(row.created_at, row.id))
    return DeliveryPage(items=[_delivery(row) for row in rows], next_cursor=following, has_more=following is not None)


def _check(settings: Settings, url: str) -> None:
    try:
        _check_url(settings, url)
    except UriNotAllowed as error:
        raise FieldErrors((error, FieldError(pointer="/url", detail=error.message))) from None


def _check_url(settings: Settings, url: str) -> None:
    # The addresses that the host name resolves to are checked at each delivery.
    try:
        uri = parse_uri(url)
    except UriNotAllowed:
        uri = None  # its message lists what datasets and teachers may be
    if not isinstance(uri, HttpUri) or uri.sha256 is not None:
        raise UriNotAllowed("The URL of a webhook must be https://HOST/PATH.")
    if f"{uri.host}:{uri.port}" in settings.private_hosts:
        return
    if uri.scheme != "https":
        raise UriNotAllowed("The URL of a webhook must be https://. The operator can allow http:// for single hosts.")
    try:
        public = is_public(uri.host.strip("[]"))
    except ValueError:
        public = uri.host != "localhost"  # a host name
    if not public:
        raise UriNotAllowed(f"{uri.host} is not a public address.")


def _view(webhook: Webhook) -> WebhookOut:
    return WebhookOut(**_fields(webhook))


def _with_secret(webhook: Webhook) -> NewWebhookOut:
    return NewWebhookOut(**_fields(webhook), secret=webhook.secret)


def _fields(webhook: Webhook) -> dict[str, Any]:
    names = ("id", "url", "events", "description", "disabled_at", "disabled_reason", "failing_since", "created_at")
    return {"enabled": webhook.disabled_at is None, **{name: getattr(webhook, name) for name in names}}


def _delivery(row: WebhookDelivery) -> DeliveryOut:
    return DeliveryOut(**{name: getattr(row, name) for name in DeliveryOut.model_fields})
