"""Webhooks and their deliveries."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, tuple_
from sqlalchemy.orm import Session

from ttm_jobs.database.audit import DISPATCHER, process_author, record
from ttm_jobs.database.clock import now
from ttm_jobs.database.ids import first_id_of, new_id
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import DeliveryNotFound, TooManyWebhooks, WebhookDisabled, WebhookNotFound
from ttm_jobs.models import DeliveryState, Job, Study, Webhook, WebhookDelivery
from ttm_jobs.models.base import Json
from ttm_jobs.repositories import outbox
from ttm_jobs.states import JobState
from ttm_jobs.studies.states import StudyState
from ttm_jobs.webhook_signatures import new_secret

TOPIC = "webhook"
PING = "webhook.ping"
# Transient states have no event.
_REPORTED_STATES = (
    JobState.QUEUED,
    JobState.RUNNING,
    JobState.PAUSED,
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELLED,
)
EVENTS = (*(f"job.{state}" for state in _REPORTED_STATES), *(f"study.{state}" for state in StudyState))

_MAX_WEBHOOKS = 20
_OLD_SECRET_LIFETIME = timedelta(hours=24)
_DELIVERY_LIFETIME = timedelta(days=14)
_GONE = 410
_WAS_DISABLED = "The webhook was disabled."


@dataclass(frozen=True)
class RetryPolicy:
    """Backoff of failed deliveries: `first`, then four times longer each time, at most `longest`.

    A webhook whose deliveries have all failed for `give_up_after` is disabled.
    """

    first: timedelta
    give_up_after: timedelta
    longest: timedelta = timedelta(hours=6)
    attempts: int = 10

    def delay(self, attempts: int) -> timedelta:
        """The delay after this many failed attempts."""
        return min(self.first * float(4 ** (attempts - 1)), self.longest)


@dataclass(frozen=True)
class OutgoingRequest:
    """The request of a delivery."""

    id: str
    url: str
    secrets: Sequence[str]
    body: bytes


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


def ping(session: Session, webhook_id: str) -> WebhookDelivery:
    """Enqueues a test delivery. Raises WebhookNotFound."""
    webhook = get(session, webhook_id)
    return _enqueue(session, webhook, PING, {"webhook": {"id": webhook.id}}, now(session))


def enqueue_deliveries(session: Session, job: Job, before: JobState | None, at: datetime) -> None:
    """Enqueues deliveries about a job's new state."""
    if job.state not in _REPORTED_STATES:
        return
    _enqueue_all(session, job.project_id, f"job.{job.state}", {"job": _view(job, before)}, at)


def enqueue_study_deliveries(session: Session, study: Study, before: StudyState | None, at: datetime) -> None:
    """Enqueues deliveries about a study's new state."""
    _enqueue_all(session, study.project_id, f"study.{study.state}", {"study": _study_view(study, before)}, at)


def _enqueue_all(session: Session, project_id: str, event: str, data: Json, at: datetime) -> None:
    # The row of the job or study is not complete yet.
    with session.no_autoflush:
        webhooks = session.scalars(select(Webhook).where(Webhook.project_id == project_id)).all()
    for webhook in webhooks:
        if not webhook.events or event in webhook.events:
            _enqueue(session, webhook, event, data, at)


def deliveries(
    session: Session, webhook_id: str, *, limit: int, before: tuple[datetime, str] | None = None
) -> Sequence[WebhookDelivery]:
    """Returns deliveries, newest first. Raises WebhookNotFound."""
    query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == get(session, webhook_id).id)
    if before is not None:
        query = query.where(tuple_(WebhookDelivery.created_at, WebhookDelivery.id) < before)
    order = WebhookDelivery.created_at.desc(), WebhookDelivery.id.desc()
    return session.scalars(query.order_by(*order).limit(limit)).all()


def redeliver(session: Session, webhook_id: str, delivery_id: str) -> WebhookDelivery:
    """Sends a delivery again with the same id and body, whether or not it arrived. A pending one is unchanged.

    Raises WebhookNotFound, DeliveryNotFound and WebhookDisabled.
    """
    webhook = _get_enabled(session, webhook_id)
    delivery = session.get(WebhookDelivery, delivery_id, with_for_update=True)
    if delivery is None or delivery.webhook_id != webhook.id:
        raise DeliveryNotFound
    if delivery.state is not DeliveryState.PENDING:
        _send_again(session, delivery, now(session))
    return delivery


def replay(session: Session, webhook_id: str, *, since: datetime, limit: int = 1000) -> int:
    """Sends failed deliveries created at or after `since` again, oldest first, with the same ids and bodies.

    Returns the number of deliveries, at most `limit`. Raises WebhookNotFound and WebhookDisabled.
    """
    webhook = _get_enabled(session, webhook_id)
    missed = (
        select(WebhookDelivery)
        .where(
            WebhookDelivery.webhook_id == webhook.id,
            WebhookDelivery.created_at >= since,
            WebhookDelivery.state == DeliveryState.FAILED,
        )
        .order_by(WebhookDelivery.created_at, WebhookDelivery.id)
        .limit(limit)
        .with_for_update()
    )
    found = session.scalars(missed).all()
    at = now(session)
    for delivery in found:
        _send_again(session, delivery, at)
    return len(found)


def _get_enabled(session: Session, webhook_id: str) -> Webhook:
    webhook = get(session, webhook_id)
    if webhook.disabled_at is not None:
        raise WebhookDisabled
    return webhook


def _send_again(session: Session, delivery: WebhookDelivery, at: datetime) -> None:
    delivery.state, delivery.attempts, delivery.next_attempt_at = DeliveryState.PENDING, 0, at
    outbox.add(session, TOPIC, {"delivery_id": delivery.id}, created_at=at, next_attempt_at=at)


def outgoing(session: Session, delivery_id: str) -> OutgoingRequest | None:
    """Returns the request of a pending delivery; None if it must not be sent any more."""
    delivery = session.get(WebhookDelivery, delivery_id)
    if delivery is None or delivery.state is not DeliveryState.PENDING:
        return None
    webhook = session.get_one(Webhook, delivery.webhook_id)
    if webhook.disabled_at is not None:
        return None
    secrets = [webhook.secret]
    if webhook.old_secret is not None and (webhook.old_secret_until or now(session)) > now(session):
        secrets.append(webhook.old_secret)
    return OutgoingRequest(delivery.id, webhook.url, secrets, delivery.body.encode())


def record_attempt(
    session: Session, delivery_id: str, *, status: int | None, error: str | None, policy: RetryPolicy
) -> datetime | None:
    """Records an attempt: the response's `status`, or `error` without a response.

    Returns:
        The time of the next attempt; None if there is none.
    """
    delivery = session.get(WebhookDelivery, delivery_id, with_for_update=True)
    if delivery is None or delivery.state is not DeliveryState.PENDING:
        return None
    webhook = session.get_one(Webhook, delivery.webhook_id, with_for_update=True)
    at = now(session)
    delivery.attempts += 1
    delivery.last_attempt_at, delivery.next_attempt_at = at, None
    delivery.status, delivery.error = status, error and error[:500]
    if status is not None and 200 <= status < 300:
        delivery.state = DeliveryState.DELIVERED
        webhook.failing_since = None
        return None
    webhook.failing_since = webhook.failing_since or at
    if status == _GONE:
        _disable(session, webhook, "The receiver returned 410 Gone.", at)
    elif at - webhook.failing_since >= policy.give_up_after:
        _disable(session, webhook, f"Every delivery has failed since {webhook.failing_since:%Y-%m-%d %H:%M} UTC.", at)
    if webhook.disabled_at is not None or delivery.attempts >= policy.attempts:
        delivery.state = DeliveryState.FAILED
        return None
    delivery.next_attempt_at = at + policy.delay(delivery.attempts)
    return delivery.next_attempt_at


def give_up(session: Session, delivery_id: str) -> None:
    """Fails a pending delivery of a disabled webhook."""
    delivery = session.get(WebhookDelivery, delivery_id)
    if delivery is not None and delivery.state is DeliveryState.PENDING:
        delivery.state, delivery.next_attempt_at = DeliveryState.FAILED, None
        delivery.error = _WAS_DISABLED


def delete_old(session: Session, *, limit: int = 1000) -> None:
    """Deletes deliveries older than two weeks."""
    old = (
        select(WebhookDelivery.id)
        .where(WebhookDelivery.id < first_id_of(now(session) - _DELIVERY_LIFETIME))
        .limit(limit)
    )
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.id.in_(old)))


def _disable(session: Session, webhook: Webhook, reason: str, at: datetime) -> None:
    if webhook.disabled_at is None:
        webhook.disabled_at, webhook.disabled_reason = at, reason
        author = process_author("webhooks_disable", DISPATCHER)
        record(session, author, project_id=webhook.project_id, name=webhook.id)


def _enqueue(session: Session, webhook: Webhook, event: str, data: Json, at: datetime) -> WebhookDelivery:
    body = json.dumps({"type": event, "timestamp": at.isoformat(), "data": data}, ensure_ascii=False)
    disabled = webhook.disabled_at is not None
    delivery = WebhookDelivery(
        id=new_id(),
        webhook_id=webhook.id,
        project_id=webhook.project_id,
        event=event,
        body=body,
        state=DeliveryState.FAILED if disabled else DeliveryState.PENDING,
        attempts=0,
        error=_WAS_DISABLED if disabled else None,
        created_at=at,
        next_attempt_at=None if disabled else at,
    )
    session.add(delivery)
    if not disabled:
        outbox.add(session, TOPIC, {"delivery_id": delivery.id}, created_at=at, next_attempt_at=at)
    return delivery


def _view(job: Job, before: JobState | None) -> Json:
    """The job as sent to webhooks; `href` has the rest."""
    return {
        "id": job.id,
        "href": f"/jobs/{job.id}",
        "name": job.name,
        "tags": job.tags,
        "state": job.state,
        "from": before,
        "student": job.student,
        "dataset": job.dataset,
        "attempt": job.attempt,
        "failure": job.failure,
        "created_at": job.created_at.isoformat(),
        "finished_at": job.finished_at and job.finished_at.isoformat(),
    }


def _study_view(study: Study, before: StudyState | None) -> Json:
    """The study as sent to webhooks; `href` has the rest."""
    return {
        "id": study.id,
        "href": f"/studies/{study.id}",
        "name": study.name,
        "tags": study.tags,
        "state": study.state,
        "from": before,
        "stage": study.stage,
        "recommendation": (study.result or {}).get("recommendation"),
        "failure": study.failure,
        "created_at": study.created_at.isoformat(),
        "finished_at": study.finished_at and study.finished_at.isoformat(),
    }
