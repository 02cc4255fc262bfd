from threading import Event, Thread

import pytest
from sqlalchemy import Engine

from tests.support.factories import NO_TIME, claimed, job_of, queued, running, state_of
from tests.support.tiny import wait_until
from ttm_jobs.broker.notifier import BrokerUnavailable, InMemoryNotifier
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import OutboxMessage
from ttm_jobs.repositories import workers
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from worker.dispatcher import dispatcher as module
from worker.dispatcher.dispatcher import Dispatcher


class DeadDoorbell:
    def notify(self, job_id: str, *, priority: int, queue: str) -> None:
        raise BrokerUnavailable("gone")


@pytest.fixture
def bell() -> InMemoryNotifier:
    return InMemoryNotifier()


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(
        {
            "renotify_seconds": 0.001,
            "retry_backoff_seconds": 0.001,
            "dispatch_interval_seconds": 0.02,
            "reap_interval_seconds": 0.05,
        }
    )


@pytest.fixture
def dispatcher(settings: Settings, engine: Engine, bell: InMemoryNotifier) -> Dispatcher:
    return Dispatcher(settings, engine, bell)


def idle_worker(engine: Engine, name: str = "idle") -> None:
    with session_scope(engine) as session:
        workers.register(session, name, kind="worker", hostname="h", pid=1, devices=[], job_id=None)


def owed(engine: Engine) -> int:
    with session_scope(engine) as session:
        return session.query(OutboxMessage).count()


def test_every_new_job_is_rung_once(dispatcher: Dispatcher, engine: Engine, bell: InMemoryNotifier) -> None:
    job_ids = [queued(engine) for _ in range(3)]
    assert dispatcher.dispatch() == 3
    assert bell.take() == job_ids
    assert dispatcher.dispatch() == 0
    assert owed(engine) == 0


def test_a_ring_that_the_broker_did_not_take_is_owed_still(
    settings: Settings, engine: Engine, bell: InMemoryNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_AFTER", NO_TIME)
    job_id = queued(engine)
    assert Dispatcher(settings, engine, DeadDoorbell()).dispatch() == 0
    assert owed(engine) == 1
    assert Dispatcher(settings, engine, bell).dispatch() == 1
    assert bell.take() == [job_id]


def test_a_silent_workers_job_is_queued_and_rung(
    dispatcher: Dispatcher, engine: Engine, bell: InMemoryNotifier
) -> None:
    lease = running(engine, duration=NO_TIME)
    dispatcher.dispatch()
    bell.take()
    dispatcher.reap()
    assert state_of(engine, lease.job_id) is JobState.QUEUED
    wait_until(dispatcher.dispatch)
    assert bell.take() == [lease.job_id]


def test_lost_rings_are_repeated_for_idle_workers_only(
    dispatcher: Dispatcher, engine: Engine, bell: InMemoryNotifier
) -> None:
    first, second = queued(engine), queued(engine)
    dispatcher.dispatch()
    bell.take()
    dispatcher.reap()
    dispatcher.dispatch()
    assert bell.take() == [], "everyone is busy: they will hear when they are done"
    idle_worker(engine)
    dispatcher.reap()
    dispatcher.dispatch()
    assert bell.take() == [first]
    claimed(engine, first)
    dispatcher.reap()
    dispatcher.dispatch()
    assert bell.take() == [second]


def test_several_dispatchers_serve_side_by_side(settings: Settings, engine: Engine, bell: InMemoryNotifier) -> None:
    stop = Event()
    threads = [Thread(target=Dispatcher(settings, engine, bell).serve, args=[stop]) for _ in range(3)]
    for thread in threads:
        thread.start()
    job_ids = [queued(engine) for _ in range(20)]
    lost = running(engine, duration=NO_TIME).job_id
    rung: list[str] = []

    def heard() -> bool:
        rung.extend(bell.take())
        return len(rung) >= 22

    wait_until(heard)
    stop.set()
    for thread in threads:
        thread.join(10)
    # The lost job twice: when it was new, and when it came back.
    assert sorted(rung) == sorted([*job_ids, lost, lost])
    assert job_of(engine, lost).attempt == 1
