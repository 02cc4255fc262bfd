"""Webhooks of a project."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.database.ids import new_id
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import TooManyWebhooks, WebhookDisabled, WebhookNotFound
from ttm_jobs.models import Webhook
from ttm_jobs.webhook_signatures import new_secret

_MAX_WEBHOOKS = 20
_OLD_SECRET_LIFETIME = timedelta(hours=24)


def create(session: Session, *, url: str, events: Collection[str], description: str | None) -> Webhook:
    """Creates a webhook of the session's project. Raises TooManyWebhooks."""
    if len(list_all(session)) >= _MAX_WEBHOOKS:
        raise TooManyWebhooks(f"A project has at most {_MAX_WEBHOOKS} webhooks.")
    webhook = Webhook(
        id=new_id(),
        project_id=project_of(session),
        url=url,
        events=sorted(set(events)),
        description=description,
        secret=new_secret(),
        created_at=now(session),
    )
    session.add(webhook)
    return webhook


def list_all(session: Session) -> Sequence[Webhook]:
    """Returns the webhooks of the session's project, oldest first."""
    of_project = Webhook.project_id == project_of(session)
    return session.scalars(select(Webhook).where(of_project).order_by(Webhook.created_at, Webhook.id)).all()


def get(session: Session, webhook_id: str) -> Webhook:
    """Returns a webhook. Raises WebhookNotFound."""
    webhook = session.get(Webhook, webhook_id)
    if webhook is None:
        raise WebhookNotFound
    return webhook


def remove(session: Session, webhook_id: str) -> None:
    """Deletes a webhook and its deliveries. Raises WebhookNotFound."""
    session.execute(delete(Webhook).where(Webhook.id == get(session, webhook_id).id))


def rotate(session: Session, webhook_id: str) -> Webhook:
    """Creates a new secret; the old one also signs for a day. Raises WebhookNotFound."""
    webhook = get(session, webhook_id)
    webhook.old_secret, webhook.secret = webhook.secret, new_secret()
    webhook.old_secret_until = now(session) + _OLD_SECRET_LIFETIME
    return webhook


def enable(session: Session, webhook_id: str, *, enabled: bool) -> Webhook:
    """Enables or disables a webhook. Events while it is disabled become failed deliveries, which `replay` sends.
    Raises WebhookNotFound.
    """
    webhook = get(session, webhook_id)
    if enabled:
        webhook.disabled_at = webhook.disabled_reason = webhook.failing_since = None
    elif webhook.disabled_at is None:
        webhook.disabled_at, webhook.disabled_reason = now(session), "Disabled by its project."
    return webhook


def get_enabled(session: Session, webhook_id: str) -> Webhook:
    """Returns a webhook that receives events. Raises WebhookNotFound and WebhookDisabled."""
    webhook = get(session, webhook_id)
    if webhook.disabled_at is not None:
        raise WebhookDisabled
    return webhook
