from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import pytest
from sqlalchemy import Engine

from tests.support.factories import NO_TIME, claimed, job_of, queued, running, state_of
from tests.support.tiny import wait_until
from ttm_jobs.broker.notifier import BrokerUnavailable, InMemoryNotifier
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import OutboxMessage
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from worker.dispatcher import dispatcher as module
from worker.dispatcher.dispatcher import Dispatcher


class UnavailableNotifier:
    def notify(self, job_id: str, *, priority: int, queue: str) -> None:
        raise BrokerUnavailable("unreachable")


@pytest.fixture
def notifier() -> InMemoryNotifier:
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
def dispatcher(settings: Settings, engine: Engine, notifier: InMemoryNotifier) -> Dispatcher:
    return Dispatcher(settings, engine, notifier)


def idle_worker(engine: Engine, name: str = "idle") -> None:
    with session_scope(engine) as session:
        workers.register(session, name, kind="worker", hostname="h", pid=1, devices=[], job_id=None)


def pending_messages(engine: Engine) -> int:
    with session_scope(engine) as session:
        return session.query(OutboxMessage).count()


def test_new_job_is_announced_once(dispatcher: Dispatcher, engine: Engine, notifier: InMemoryNotifier) -> None:
    job_ids = [queued(engine) for _ in range(3)]
    assert dispatcher.dispatch() == 3
    assert notifier.take() == job_ids
    assert dispatcher.dispatch() == 0
    assert pending_messages(engine) == 0


def test_undelivered_wake_up_message_stays_in_the_outbox(
    settings: Settings, engine: Engine, notifier: InMemoryNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_AFTER", NO_TIME)
    job_id = queued(engine)
    assert Dispatcher(settings, engine, UnavailableNotifier()).dispatch() == 0
    assert pending_messages(engine) == 1
    assert Dispatcher(settings, engine, notifier).dispatch() == 1
    assert notifier.take() == [job_id]


def test_job_of_an_unresponsive_worker_is_queued_and_announced(
    dispatcher: Dispatcher, engine: Engine, notifier: InMemoryNotifier
) -> None:
    lease = running(engine, duration=NO_TIME)
    dispatcher.dispatch()
    notifier.take()
    dispatcher.reap()
    assert state_of(engine, lease.job_id) is JobState.QUEUED
    wait_until(dispatcher.dispatch)
    assert notifier.take() == [lease.job_id]


@pytest.fixture
def reap_at(
    settings: Settings, engine: Engine, notifier: InMemoryNotifier, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], None]:
    """Runs a round of a dispatcher at this time of the database's clock, in seconds."""
    started = datetime(2026, 1, 1, tzinfo=UTC)
    clock = {"at": started}
    monkeypatch.setattr(module, "now", lambda session: clock["at"])
    dispatcher = Dispatcher(settings, engine, notifier)

    def reap_at(seconds: float) -> None:
        clock["at"] = started + timedelta(seconds=seconds)
        dispatcher.reap()

    return reap_at


def test_workers_may_extend_their_leases_after_a_pause(engine: Engine, reap_at: Callable[[float], None]) -> None:
    reap_at(0)
    extended, lost = running(engine, duration=NO_TIME), running(engine, duration=NO_TIME)
    reap_at(3600)
    reap_at(3620)
    assert {state_of(engine, lease.job_id) for lease in (extended, lost)} == {JobState.RUNNING}
    with session_scope(engine) as session:
        leases.heartbeat(session, extended, duration=timedelta(minutes=1))
    reap_at(3630)
    assert state_of(engine, extended.job_id) is JobState.RUNNING
    assert state_of(engine, lost.job_id) is JobState.QUEUED


def test_leases_expire_after_the_clock_was_set_forward_and_back(
    engine: Engine, reap_at: Callable[[float], None]
) -> None:
    reap_at(0)
    lost = running(engine, duration=NO_TIME)
    reap_at(10_800)
    reap_at(2)
    assert state_of(engine, lost.job_id) is JobState.RUNNING
    reap_at(40)
    assert state_of(engine, lost.job_id) is JobState.QUEUED


def test_rare_calls_of_the_dispatcher_expire_leases(
    settings: Settings, engine: Engine, notifier: InMemoryNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute) for minute in range(9))
    monkeypatch.setattr(module, "now", lambda session: next(times))
    dispatcher = Dispatcher(settings, engine, notifier)
    dispatcher.reap()
    job_id = running(engine, duration=NO_TIME).job_id
    dispatcher.reap()
    assert state_of(engine, job_id) is JobState.RUNNING
    dispatcher.reap()
    assert state_of(engine, job_id) is JobState.QUEUED


def test_wake_up_messages_are_repeated_for_idle_workers_only(
    dispatcher: Dispatcher, engine: Engine, notifier: InMemoryNotifier
) -> None:
    first, second = queued(engine), queued(engine)
    dispatcher.dispatch()
    notifier.take()
    dispatcher.reap()
    dispatcher.dispatch()
    assert notifier.take() == [], "no worker is idle; busy workers claim the jobs when they finish"
    idle_worker(engine)
    dispatcher.reap()
    dispatcher.dispatch()
    assert notifier.take() == [first]
    claimed(engine, first)
    dispatcher.reap()
    dispatcher.dispatch()
    assert notifier.take() == [second]


def test_dispatchers_run_concurrently(settings: Settings, engine: Engine, notifier: InMemoryNotifier) -> None:
    stop = Event()
    threads = [Thread(target=Dispatcher(settings, engine, notifier).serve, args=[stop]) for _ in range(3)]
    for thread in threads:
        thread.start()
    job_ids = [queued(engine) for _ in range(20)]
    expired = running(engine, duration=NO_TIME).job_id
    announced: list[str] = []

    def all_announced() -> bool:
        announced.extend(notifier.take())
        return len(announced) >= 22

    wait_until(all_announced)
    stop.set()
    for thread in threads:
        thread.join(60)
    # The expired job is announced twice: when created and when queued again.
    assert sorted(announced) == sorted([*job_ids, expired, expired])
    assert job_of(engine, expired).attempt == 1
