"""Sending of deliveries by the dispatcher, with retries."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ttm_jobs.database.audit import DISPATCHER, process_author, record
from ttm_jobs.database.clock import now
from ttm_jobs.database.ids import first_id_of
from ttm_jobs.models import DeliveryState, OutboxMessage, Webhook, WebhookDelivery
from ttm_jobs.repositories import outbox
from ttm_jobs.repositories.webhooks.deliveries import TOPIC, WAS_DISABLED, project_of_lane

_DELIVERY_LIFETIME = timedelta(days=14)
_GONE = 410


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


def any_due(session: Session) -> bool:
    """Whether deliveries are due. A read."""
    return bool(outbox.due_lanes(session, TOPIC))


def take(session: Session, in_flight: Iterable[str], *, limit: int, again_after: timedelta) -> Sequence[OutboxMessage]:
    """Claims the messages of due deliveries: of the project, then of the webhook with the fewest in flight, so that a
    receiver that does not respond delays only its own messages.

    Args:
        in_flight: the lanes of the deliveries in flight.
        limit: number of messages.
        again_after: when they become due again after a crash.
    """
    lanes = Counter(in_flight)
    projects = Counter(project_of_lane(lane) for lane in lanes.elements())
    due = list(outbox.due_lanes(session, TOPIC))
    taken: list[OutboxMessage] = []
    while due and len(taken) < limit:
        lane = min(due, key=lambda each: (projects[project_of_lane(each)], lanes[each]))
        found = outbox.take(session, TOPIC, limit=1, again_after=again_after, lane=lane)
        if not found:
            due.remove(lane)
        taken += found
        lanes[lane] += 1
        projects[project_of_lane(lane)] += 1
    return taken


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
        delivery.error = WAS_DISABLED


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
