"""Deliveries of webhooks: enqueued with the change of state they report, listed, and sent again."""

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, defer

from ttm_jobs.database.clock import now
from ttm_jobs.database.ids import new_id
from ttm_jobs.errors import DeliveryNotFound
from ttm_jobs.models import DeliveryState, Job, Study, Webhook, WebhookDelivery
from ttm_jobs.models.base import Json
from ttm_jobs.repositories import outbox
from ttm_jobs.repositories.webhooks.crud import get, get_enabled
from ttm_jobs.states import JobState
from ttm_jobs.studies.states import StudyState

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
WAS_DISABLED = "The webhook was disabled."


def lane_of(project_id: str, webhook_id: str) -> str:
    """The lane of a webhook's messages in the outbox."""
    return f"{project_id}/{webhook_id}"


def project_of_lane(lane: str) -> str:
    """The project of the webhook with this lane."""
    return lane.partition("/")[0]


def ping(session: Session, webhook_id: str) -> WebhookDelivery:
    """Enqueues a test delivery. Raises WebhookNotFound."""
    webhook = get(session, webhook_id)
    return _enqueue(session, webhook, PING, {"webhook": {"id": webhook.id}}, now(session))


def enqueue_for_job(session: Session, job: Job, before: JobState | None, at: datetime) -> None:
    """Enqueues deliveries about a job's new state."""
    if job.state not in _REPORTED_STATES:
        return
    _enqueue_all(session, job.project_id, f"job.{job.state}", {"job": _job_view(job, before)}, at)


def enqueue_for_study(session: Session, study: Study, before: StudyState | None, at: datetime) -> None:
    """Enqueues deliveries about a study's new state."""
    _enqueue_all(session, study.project_id, f"study.{study.state}", {"study": _study_view(study, before)}, at)


def _enqueue_all(session: Session, project_id: str, event: str, data: Json, at: datetime) -> None:
    # Workers, which have no key of the secrets, change states too.
    without_secrets = defer(Webhook.secret), defer(Webhook.old_secret)
    found = select(Webhook).where(Webhook.project_id == project_id).options(*without_secrets)
    # The row of the job or study is not complete yet.
    with session.no_autoflush:
        webhooks = session.scalars(found).all()
    for webhook in webhooks:
        if not webhook.events or event in webhook.events:
            _enqueue(session, webhook, event, data, at)


def list_all(
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
    webhook = get_enabled(session, webhook_id)
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
    webhook = get_enabled(session, webhook_id)
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


def _send_again(session: Session, delivery: WebhookDelivery, at: datetime) -> None:
    delivery.state, delivery.attempts, delivery.next_attempt_at = DeliveryState.PENDING, 0, at
    _add_message(session, delivery, at)


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
        error=WAS_DISABLED if disabled else None,
        created_at=at,
        next_attempt_at=None if disabled else at,
    )
    session.add(delivery)
    if not disabled:
        _add_message(session, delivery, at)
    return delivery


def _add_message(session: Session, delivery: WebhookDelivery, at: datetime) -> None:
    lane = lane_of(delivery.project_id, delivery.webhook_id)
    outbox.add(session, TOPIC, {"delivery_id": delivery.id}, created_at=at, next_attempt_at=at, lane=lane)


def _job_view(job: Job, before: JobState | None) -> Json:
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
