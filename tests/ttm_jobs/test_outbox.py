from datetime import timedelta

from sqlalchemy import Engine

from tests.support.factories import MINUTE, NO_TIME, queued
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.repositories import outbox
from ttm_jobs.repositories.jobs.transitions import WAKE_UP


def take(engine: Engine, again_after: timedelta = MINUTE, limit: int = 10) -> list[tuple[int, str]]:
    with session_scope(engine) as session:
        messages = outbox.take(session, WAKE_UP, limit=limit, again_after=again_after)
        return [(message.id, message.payload["job_id"]) for message in messages]


def any_due(engine: Engine) -> bool:
    with read_scope(engine) as session:
        return outbox.any_due(session, WAKE_UP)


def test_messages_are_taken_once_and_in_order(engine: Engine) -> None:
    job_ids = [queued(engine) for _ in range(3)]
    assert any_due(engine)
    assert [job_id for _, job_id in take(engine, limit=2)] == job_ids[:2]
    assert [job_id for _, job_id in take(engine)] == job_ids[2:]
    assert take(engine) == []
    assert not any_due(engine)


def test_message_of_a_crashed_dispatcher_is_taken_again(engine: Engine) -> None:
    queued(engine)
    first = take(engine, again_after=NO_TIME)
    assert first == take(engine)


def test_delivered_message_is_deleted(engine: Engine) -> None:
    queued(engine)
    taken = take(engine, again_after=NO_TIME)
    with session_scope(engine) as session:
        outbox.delivered(session, [number for number, _ in taken])
    assert not any_due(engine)
    assert take(engine) == []


def test_delayed_message_is_not_due(engine: Engine) -> None:
    with session_scope(engine) as session:
        at = now(session)
        outbox.add(session, "wake_up", {"job_id": "later"}, created_at=at, next_attempt_at=at + MINUTE)
    assert not any_due(engine)
    assert take(engine) == []


def test_concurrent_dispatchers_take_different_messages(engine: Engine) -> None:
    job_ids = {queued(engine) for _ in range(4)}
    if engine.dialect.name == "sqlite":
        return  # SQLite serializes writing transactions.
    with session_scope(engine) as one, session_scope(engine) as other:
        first = [message.payload["job_id"] for message in outbox.take(one, WAKE_UP, limit=2, again_after=MINUTE)]
        second = [message.payload["job_id"] for message in outbox.take(other, WAKE_UP, limit=10, again_after=MINUTE)]
    assert len(first) == len(second) == 2
    assert {*first, *second} == job_ids
