"""Failed sign-ins: throttled per address, and recorded in bounded number."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, update

from api.app import create_app
from api.auth.origin import RequestOrigin
from api.auth.throttle import ACTION, SignInThrottle
from tests.api.conftest import make_settings
from tests.api.test_access import bearer, make_key
from tests.support.openid_provider import openid_provider
from tests.support.sign_in import approve, sign_in, start, with_sign_on
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.models import AuditEntry, SignInFailures
from ttm_jobs.repositories.access import sign_in_failures
from ttm_jobs.settings import Settings

WRONG = "ttm_00000000_" + "A" * 43
LIMIT = 3
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    update = {"failed_sign_ins_per_minute": LIMIT, "trusted_proxies": ("testclient",)}
    return make_settings(database_url, tmp_path_factory.mktemp("api")).model_copy(update=update)


def entries(engine: Engine) -> list[tuple[str | None, str | None]]:
    """Address and object of each recorded failure, oldest first."""
    with read_scope(engine) as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.action == ACTION).order_by(AuditEntry.id))
        return [(row.address, row.object) for row in rows]


def at(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


def test_an_address_with_wrong_keys_has_to_wait_in_every_process(settings: Settings, engine: Engine) -> None:
    known, unknown = bearer(make_key(engine)), bearer(make_key(engine))
    with TestClient(create_app(settings)) as client, TestClient(create_app(settings)) as other:
        assert client.get("/jobs", headers=known | at("10.0.0.1")).status_code == 200
        for _ in range(LIMIT):
            assert client.get("/jobs", headers=bearer(WRONG) | at("10.0.0.1")).status_code == 401
        for headers in (bearer(WRONG), unknown):
            refused = client.get("/jobs", headers=headers | at("10.0.0.1"))
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_failed_sign_ins")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
        # A key that worked before works, and so does every key elsewhere.
        assert client.get("/jobs", headers=known | at("10.0.0.1")).status_code == 200
        assert client.get("/jobs", headers=unknown | at("10.0.0.2")).status_code == 200
        # Another process learns of the limit at the next failure.
        assert other.get("/jobs", headers=bearer(WRONG) | at("10.0.0.1")).status_code == 401
        assert other.get("/jobs", headers=bearer(WRONG) | at("10.0.0.1")).status_code == 429
    assert entries(engine) == [("10.0.0.1", "API key"), ("10.0.0.1", "API key")]


def test_addresses_of_a_customer_count_together(engine: Engine) -> None:
    throttle = SignInThrottle(engine, LIMIT)
    for host in range(LIMIT):
        throttle.failed(RequestOrigin("r", f"2001:db8:1:2::{host}"), "API key")
    assert throttle.wait("2001:db8:1:2:ffff::1") > 0
    assert throttle.wait("2001:db8:1:3::1") == 0
    throttle.failed(RequestOrigin("r", "::ffff:10.0.0.1"), "API key")
    throttle.failed(RequestOrigin("r", None), "API key")
    with read_scope(engine) as session:
        counted = session.execute(select(SignInFailures.address, SignInFailures.failures)).all()
    assert sorted(map(tuple, counted)) == [("", 1), ("10.0.0.1", 1), ("2001:db8:1:2::/64", LIMIT)]


def test_a_minute_later_the_count_starts_again(engine: Engine) -> None:
    earlier = timedelta(minutes=2)
    with session_scope(engine) as session:
        assert [sign_in_failures.add(session, "10.0.0.1")[0] for _ in range(2)] == [1, 2]
        session.execute(update(SignInFailures).values(since=now(session) - earlier))
        assert sign_in_failures.add(session, "10.0.0.1")[0] == 1
        # Old rows of others are deleted on the way.
        session.execute(update(SignInFailures).values(since=now(session) - earlier))
        sign_in_failures.add(session, "10.0.0.2")
        assert session.scalars(select(SignInFailures.address)).all() == ["10.0.0.2"]


@ON_SQLITE
def test_an_attack_cannot_fill_the_log(engine: Engine) -> None:
    throttle = SignInThrottle(engine, LIMIT)
    for host in range(110):
        throttle.failed(RequestOrigin("r", f"10.1.0.{host}"), "API key")
    assert len(entries(engine)) == 100


@ON_SQLITE
def test_sign_ins_on_the_page_are_throttled(settings: Settings, engine: Engine) -> None:
    browser = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
    with openid_provider() as provider:
        provider.redirect_uris = {"http://testserver/sign-in/callback"}
        with TestClient(create_app(with_sign_on(settings, provider))) as client:
            assert sign_in(client, provider, "eve-4").status_code == 403
            assert client.get("/sign-in/callback?state=x&code=y").status_code == 400
            assert client.post("/sign-in/key", json={"key": WRONG}).status_code == 401
            assert client.post("/sign-in/key", json={"key": WRONG}).status_code == 429
            refused = client.get(approve(provider, start(client)), headers=browser)
            assert refused.status_code == 429
            assert "retry-after" in refused.headers
            assert "Too many failed sign-ins" in refused.text
            assert client.get("/sign-in").status_code == 200
    assert [name for _, name in entries(engine)] == ["single sign-on", "API key"]


@ON_SQLITE
def test_sessions_that_ended_are_no_failures(settings: Settings, engine: Engine) -> None:
    with openid_provider() as provider, TestClient(create_app(with_sign_on(settings, provider))) as client:
        for _ in range(LIMIT + 1):
            assert client.get("/jobs", headers={"Cookie": "ttm_session=gone"}).status_code == 401
    assert entries(engine) == []


def test_the_limit_is_on_by_default() -> None:
    assert Settings().failed_sign_ins_per_minute == 10
