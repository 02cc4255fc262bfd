"""Webhook deliveries to a real receiver: signatures, retries, address checks and disabling."""

import base64
import hmac
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from threading import Event, Thread

import pytest
from sqlalchemy import Engine, delete

from tests.support.factories import create_job, queued
from tests.support.receiver import Receiver
from tests.support.runs import claim, fail
from tests.support.stack import Stack
from tests.support.tiny import wait_until
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.database.ids import first_id_of
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import DeliveryState, OutboxMessage, Webhook, WebhookDelivery
from ttm_jobs.repositories.access import audit
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.webhooks import crud as webhook_crud
from ttm_jobs.repositories.webhooks import deliveries as webhook_deliveries
from ttm_jobs.repositories.webhooks import sending
from ttm_jobs.settings import Settings
from worker.dispatcher.webhooks import WebhookSender


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def make_sender(engine: Engine, receiver: Receiver, **settings: object) -> WebhookSender:
    values = {
        "private_hosts": (receiver.address,),
        "webhook_retry_seconds": 0.001,
        "webhook_timeout_seconds": 5,
        **settings,
    }
    return WebhookSender(Settings.model_validate(values), engine)


def hook(engine: Engine, url: str, *events: str, project: str = "default") -> str:
    with session_scope(bound_to(engine, project)) as session:
        return webhook_crud.create(session, url=url, events=events, description=None).id


def deliver(make_sender: WebhookSender) -> None:
    """Sends until no delivery is due."""
    while make_sender.send_due():
        make_sender.finish()


def deliveries(engine: Engine, webhook_id: str) -> list[WebhookDelivery]:
    with read_scope(engine) as session:
        return list(webhook_deliveries.list_all(session, webhook_id, limit=100))


def state_of(engine: Engine, webhook_id: str) -> Webhook:
    with read_scope(engine) as session:
        return webhook_crud.get(session, webhook_id)


def verified(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Verifies a signature as the Standard Webhooks specification describes."""
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = "v1," + base64.b64encode(hmac.new(key, content, sha256).digest()).decode()
    return any(hmac.compare_digest(expected, given) for given in headers["webhook-signature"].split(" "))


def test_job_changes_are_delivered(engine: Engine, receiver: Receiver) -> None:
    everything, failures = hook(engine, receiver.url), hook(engine, receiver.url, "job.failed")
    foreign = hook(engine, receiver.url, project="other")
    job_id = queued(engine, tags=["a"])
    fail(engine, claim(engine, job_id))
    deliver(make_sender(engine, receiver))
    assert {row.event for row in deliveries(engine, everything)} == {"job.queued", "job.running", "job.failed"}
    assert [row.event for row in deliveries(engine, failures)] == ["job.failed"]
    assert deliveries(engine, foreign) == [], "webhooks of other projects receive nothing"
    assert {row.state for row in deliveries(engine, everything)} == {DeliveryState.DELIVERED}
    assert len(receiver.received) == 4
    messages = {headers["webhook-id"]: json.loads(body) for headers, body in receiver.received}
    message = messages[deliveries(engine, failures)[0].id]
    assert message["type"] == "job.failed"
    assert (message["data"]["job"]["id"], message["data"]["job"]["state"], message["data"]["job"]["from"]) == (
        job_id,
        "failed",
        "running",
    )
    assert message["data"]["job"]["failure"]["code"] == "bad_dataset"
    with read_scope(engine) as session:
        assert {row.topic for row in session.query(OutboxMessage)} <= {"wake_up"}, "no delivery is pending"


def test_messages_are_signed_with_each_valid_secret(engine: Engine, receiver: Receiver) -> None:
    webhook_id = hook(engine, receiver.url)
    first = state_of(engine, webhook_id).secret
    sender = make_sender(engine, receiver)

    def ping() -> tuple[dict[str, str], bytes]:
        with session_scope(engine) as session:
            webhook_deliveries.ping(session, webhook_id)
        deliver(sender)
        return receiver.received[-1]

    headers, body = ping()
    assert verified(first, headers, body)
    assert not verified(first, headers, body + b" ")
    assert not verified(first, {**headers, "webhook-timestamp": "1"}, body)
    assert abs(int(headers["webhook-timestamp"]) - json_time(body)) < 10
    with session_scope(engine) as session:
        second = webhook_crud.rotate(session, webhook_id).secret
    assert second != first
    headers, body = ping()
    assert verified(first, headers, body)
    assert verified(second, headers, body)
    with session_scope(engine) as session:
        webhook_crud.get(session, webhook_id).old_secret_until = now(session) - timedelta(seconds=1)
    headers, body = ping()
    assert not verified(first, headers, body)
    assert verified(second, headers, body)


def json_time(body: bytes) -> float:
    return datetime.fromisoformat(json.loads(body)["timestamp"]).timestamp()


@pytest.mark.parametrize("status", [500, 404, 301])
def test_failed_delivery_is_retried_with_the_same_id_and_then_abandoned(
    engine: Engine, receiver: Receiver, status: int
) -> None:
    webhook_id = hook(engine, receiver.url, "job.queued")
    receiver.status, receiver.location = status, receiver.url
    sender = make_sender(engine, receiver, webhook_retry_seconds=1e-6)
    queued(engine)
    wait_until(lambda: deliver(sender) or deliveries(engine, webhook_id)[0].state is DeliveryState.FAILED)
    [delivery] = deliveries(engine, webhook_id)
    assert (delivery.attempts, delivery.status) == (10, status)
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1
    assert len({body for _, body in receiver.received}) == 1
    assert len(receiver.received) == 10, "a redirect is not followed"
    assert state_of(engine, webhook_id).failing_since is not None
    receiver.status = 200
    queued(engine)
    deliver(sender)
    assert state_of(engine, webhook_id).failing_since is None


def test_missed_messages_are_replayed_once_with_their_ids(engine: Engine, receiver: Receiver) -> None:
    webhook_id = hook(engine, receiver.url, "job.queued")
    other = hook(engine, receiver.url, "job.queued")
    sender = make_sender(engine, receiver, webhook_retry_seconds=1e-6, webhook_disable_seconds=1e-6)
    queued(engine)
    deliver(sender)
    arrived = {headers["webhook-id"] for headers, _ in receiver.received}
    receiver.status = 503
    start = now_of(engine)
    queued(engine)
    wait_until(lambda: deliver(sender) or all(state_of(engine, each).disabled_at for each in (webhook_id, other)))
    queued(engine)
    missed = {row.id: row.body.encode() for row in deliveries(engine, webhook_id) if row.created_at >= start}
    assert len(missed) == 2

    def replay() -> int:
        with session_scope(engine) as session:
            return webhook_deliveries.replay(session, webhook_id, since=start)

    with session_scope(engine) as session:
        webhook_crud.enable(session, webhook_id, enabled=True)
    receiver.status = 200
    receiver.received.clear()
    assert replay() == 2
    assert replay() == 0, "pending"
    deliver(sender)
    assert replay() == 0, "delivered"
    assert {headers["webhook-id"]: body for headers, body in receiver.received} == missed
    secret = state_of(engine, webhook_id).secret
    assert all(verified(secret, headers, body) for headers, body in receiver.received)
    assert {row.state for row in deliveries(engine, webhook_id)} == {DeliveryState.DELIVERED}
    assert DeliveryState.FAILED in {row.state for row in deliveries(engine, other)}
    [again] = {row.id for row in deliveries(engine, webhook_id)} & arrived
    with session_scope(engine) as session:
        webhook_deliveries.redeliver(session, webhook_id, again)
    deliver(sender)
    assert receiver.received[-1][0]["webhook-id"] == again


def now_of(engine: Engine) -> datetime:
    with read_scope(engine) as session:
        return now(session)


def test_retry_delay_grows_fourfold(engine: Engine) -> None:
    policy = sending.RetryPolicy(timedelta(seconds=5), timedelta(days=5))
    waits = [policy.delay(tries).total_seconds() for tries in range(1, 10)]
    assert waits == [5, 20, 80, 320, 1280, 5120, 20480, 21600, 21600]


def test_webhook_that_keeps_failing_or_is_gone_is_disabled(engine: Engine, receiver: Receiver) -> None:
    webhook_id = hook(engine, receiver.url, "job.queued")
    receiver.status = 410
    sender = make_sender(engine, receiver)
    queued(engine)
    queued(engine)
    deliver(sender)
    assert "410" in (state_of(engine, webhook_id).disabled_reason or "")
    with read_scope(engine) as session:
        (entry,) = audit.find(session, audit.AuditFilters(), limit=9)
    assert (entry.actor, entry.action, entry.object) == ("dispatcher", "webhooks_disable", webhook_id)
    assert {row.state for row in deliveries(engine, webhook_id)} == {DeliveryState.FAILED}
    delivered = len(receiver.received)
    queued(engine)
    deliver(sender)
    assert len(receiver.received) == delivered
    with session_scope(engine) as session:
        webhook_crud.enable(session, webhook_id, enabled=True)
        webhook_crud.get(session, webhook_id).failing_since = now(session) - timedelta(days=6)
    receiver.status = 503
    queued(engine)
    deliver(sender)
    assert "failed since" in (state_of(engine, webhook_id).disabled_reason or "")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "https://localhost/x", "https://169.254.169.254/latest"])
def test_private_addresses_are_refused(engine: Engine, receiver: Receiver, url: str) -> None:
    webhook_id = hook(engine, url)
    sender = make_sender(engine, receiver)
    with session_scope(engine) as session:
        webhook_deliveries.ping(session, webhook_id)
    sender.send_due()
    sender.finish()
    [delivery] = deliveries(engine, webhook_id)
    assert delivery.status is None
    assert "not public" in (delivery.error or "")


def test_unresponsive_receiver_times_out(engine: Engine, receiver: Receiver) -> None:
    webhook_id = hook(engine, receiver.url)
    receiver.held.clear()
    with session_scope(engine) as session:
        webhook_deliveries.ping(session, webhook_id)
    sender = make_sender(engine, receiver, webhook_timeout_seconds=0.5)
    sender.send_due()
    sender.finish()
    assert "time limit" in (deliveries(engine, webhook_id)[0].error or "")


@pytest.mark.parametrize("project", ["other", "default"])
def test_unresponsive_receiver_delays_only_its_own_messages(engine: Engine, receiver: Receiver, project: str) -> None:
    receiver.held.clear()
    backlog = 64
    with Receiver() as healthy:
        stuck, other = hook(engine, receiver.url), hook(engine, healthy.url, project=project)
        with session_scope(engine) as session:
            for _ in range(backlog):
                webhook_deliveries.ping(session, stuck)
        hosts = (receiver.address, healthy.address)
        sender = make_sender(engine, receiver, private_hosts=hosts, webhook_timeout_seconds=1)
        # Every thread waits for the receiver.
        assert sender.send_due() < backlog
        stop = Event()
        serving = Thread(target=sender.serve, args=[stop])
        with session_scope(engine) as session:
            webhook_deliveries.ping(session, other)
        serving.start()
        try:
            wait_until(lambda: healthy.received)
            assert len({headers["webhook-id"] for headers, _ in receiver.received}) < backlog
        finally:
            receiver.held.set()
            stop.set()
            serving.join()


def test_deliveries_in_flight_are_divided_among_projects_and_webhooks(engine: Engine) -> None:
    url = "https://hooks.example.org/"
    first, second = hook(engine, url), hook(engine, url)
    other = hook(engine, url, project="other")
    lanes = {first: f"default/{first}", second: f"default/{second}", other: f"other/{other}"}
    with session_scope(engine) as session:
        for webhook_id in (first, first, first, first, second, second, other, other):
            webhook_deliveries.ping(session, webhook_id)

    def take(in_flight: list[str], limit: int) -> Counter[str]:
        with session_scope(engine) as session:
            taken = sending.take(session, in_flight, limit=limit, again_after=timedelta(minutes=1))
            return Counter(message.lane for message in taken)

    assert take([], 4) == {lanes[first]: 1, lanes[second]: 1, lanes[other]: 2}
    assert take([lanes[second]] * 3, 1) == {lanes[first]: 1}, "the other project has no further message"
    assert take([lanes[first]] * 8, 9) == {lanes[first]: 2, lanes[second]: 1}
    assert take([], 9) == {}
    with read_scope(engine) as session:
        assert not sending.any_due(session)


def test_rolled_back_change_is_not_delivered(engine: Engine, receiver: Receiver) -> None:
    webhook_id = hook(engine, receiver.url)
    with suppress(RuntimeError), session_scope(engine) as session:
        create_job(session)
        raise RuntimeError
    assert deliveries(engine, webhook_id) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_delivery_of_a_killed_dispatcher_is_sent_by_the_next(stack: Stack, receiver: Receiver) -> None:
    stack.settings |= {"private_hosts": receiver.address, "webhook_timeout_seconds": 1}
    webhook_id = hook(stack.engine, receiver.url, "job.queued")
    receiver.held.clear()
    first = stack.start_dispatcher()
    job_id = stack.submit("steps=1")
    wait_until(lambda: receiver.received)
    first.kill()
    first.wait()
    assert deliveries(stack.engine, webhook_id)[0].state is DeliveryState.PENDING
    with session_scope(stack.engine) as session:
        # Makes the delivery due immediately.
        for message in session.query(OutboxMessage).filter(OutboxMessage.topic == webhook_deliveries.TOPIC):
            message.next_attempt_at = now(session)
    receiver.held.set()
    stack.start_dispatcher()
    wait_until(lambda: deliveries(stack.engine, webhook_id)[0].state is DeliveryState.DELIVERED)
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1
    assert len(receiver.received) == 2
    with read_scope(stack.engine) as session:
        assert crud.get(session, job_id)


def test_old_deliveries_are_deleted_while_a_receiver_does_not_respond(engine: Engine, receiver: Receiver) -> None:
    webhook_id = hook(engine, receiver.url, "job.queued")
    with session_scope(engine) as session:
        old = webhook_deliveries.ping(session, webhook_id)
        session.flush()
        made = first_id_of(now(session) - timedelta(weeks=3))
        session.execute(delete(OutboxMessage))
        old.id = made + old.id[len(made) :]
    receiver.held.clear()
    queued(engine)
    sender, stop = make_sender(engine, receiver, dispatch_interval_seconds=0.05, webhook_timeout_seconds=60), Event()
    serving = Thread(target=sender.serve, args=(stop,))
    serving.start()
    try:
        wait_until(lambda: len(deliveries(engine, webhook_id)) == 1)
        # The other one is still in flight.
        assert deliveries(engine, webhook_id)[0].state is DeliveryState.PENDING
    finally:
        receiver.held.set()
        stop.set()
        serving.join()


def test_old_deliveries_are_deleted(engine: Engine) -> None:
    webhook_id = hook(engine, "https://hooks.example.org/", "job.queued")
    queued(engine)
    with session_scope(engine) as session:
        sending.delete_old(session)
        [delivery] = webhook_deliveries.list_all(session, webhook_id, limit=9)
        # Sets the creation time to three weeks ago.
        made = first_id_of(now(session) - timedelta(weeks=3))
        delivery.id = made + delivery.id[len(made) :]
    assert len(deliveries(engine, webhook_id)) == 1
    with session_scope(engine) as session:
        sending.delete_old(session)
    assert deliveries(engine, webhook_id) == []
