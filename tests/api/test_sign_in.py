"""Single sign-on at a real provider: sessions, projects and scopes of groups, API keys, and sign-out."""

from collections.abc import Iterator
from datetime import timedelta
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import OperationalError

from api.app import create_app
from tests.api.test_access import bearer, make_key
from tests.support.factories import queued
from tests.support.openid_provider import OpenIdProvider, openid_provider
from tests.support.sign_in import approve, sign_in, start, with_sign_on
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import Scope, SignInSession
from ttm_jobs.repositories.access import keys, sign_in_sessions
from ttm_jobs.settings import GroupAccess, Settings

BROWSER = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
SAME_ORIGIN = {"Origin": "http://testserver"}


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    with openid_provider() as provider:
        provider.redirect_uris = {"http://testserver/sign-in/callback", "https://ttm.example.com/sign-in/callback"}
        yield provider


@pytest.fixture
def settings(sqlite_settings: Settings, provider: OpenIdProvider) -> Settings:
    return with_sign_on(sqlite_settings, provider)


def test_a_person_signs_in_and_sees_the_project_of_the_group(
    client: TestClient, provider: OpenIdProvider, engine: Engine
) -> None:
    mine, other = queued(bound_to(engine, "vision")), queued(bound_to(engine, "audio"))
    refused = client.get("/ui/jobs?state=queued", headers=BROWSER, follow_redirects=False)
    assert (refused.status_code, refused.headers["location"]) == (303, "/sign-in?next=%2Fui%2Fjobs%3Fstate%3Dqueued")
    asked = client.get(refused.headers["location"]).text
    assert "Sign in with single sign-on" in asked
    assert 'href="/sign-in/start?next=%2Fui%2Fjobs%3Fstate%3Dqueued"' in asked

    started = start(client, "/ui/jobs?state=queued")
    asked_for = {name: values[0] for name, values in parse_qs(urlsplit(started.headers["location"]).query).items()}
    assert asked_for["code_challenge_method"] == "S256"
    assert {"state", "nonce", "code_challenge"} <= set(asked_for)
    finished = client.get(approve(provider, started), follow_redirects=False)
    assert (finished.status_code, finished.headers["location"]) == (303, "/ui/jobs?state=queued")
    cookie = next(value for value in finished.headers.get_list("set-cookie") if value.startswith("ttm_session="))
    assert {"HttpOnly", "SameSite=lax", "Max-Age=28800", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie, "the browser came over http"

    shown = client.get("/ui/jobs", headers=BROWSER).text
    assert "ana@example.com" in shown
    assert mine in shown
    assert other not in shown
    assert client.get(f"/jobs/{other}").status_code == 404


def test_changes_of_a_person_need_the_scope_and_are_recorded(
    client: TestClient, provider: OpenIdProvider, engine: Engine
) -> None:
    job_id = queued(bound_to(engine, "vision"))
    sign_in(client, provider)
    assert client.post(f"/jobs/{job_id}/cancel", headers=SAME_ORIGIN).is_success
    refused = client.post("/keys", json={"name": "one"}, headers=SAME_ORIGIN)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    admin = bearer(make_key(engine, "vision"))
    entries = client.get("/audit", headers=admin, params={"actor": "ana-1"}).json()["items"]
    assert [(each["action"], each["object"], each["user_id"], each["actor"], each["key_id"]) for each in entries] == [
        ("jobs_cancel", job_id, "ana-1", "ana@example.com", None),
        ("sign_in", None, "ana-1", "ana@example.com", None),
    ]


def test_a_request_with_only_a_cookie_must_come_from_this_origin(
    client: TestClient, provider: OpenIdProvider, engine: Engine
) -> None:
    job_id = queued(bound_to(engine, "vision"))
    sign_in(client, provider)
    for headers in ({}, {"Origin": "null"}, {"Origin": "https://evil.example"}, {"Origin": "http://testserver.evil"}):
        for method, path in (
            ("POST", f"/jobs/{job_id}/cancel"),
            ("DELETE", f"/jobs/{job_id}"),
            ("PATCH", f"/jobs/{job_id}"),
            ("PUT", "/uploads/data.zip"),
            ("POST", "/sign-out"),
            ("POST", "/session/project"),
        ):
            answer = client.request(method, path, headers=headers, json={})
            assert (answer.status_code, answer.json()["code"]) == (403, "cross_origin"), (method, path, headers)
    # A key is not added by the browser.
    key = bearer(make_key(engine, "vision"))
    assert client.post(f"/jobs/{job_id}/cancel", headers=key).is_success


def test_groups_give_the_highest_scope_and_several_projects(client: TestClient, provider: OpenIdProvider) -> None:
    sign_in(client, provider, "lea-2")
    page = client.get("/ui/keys").text
    assert "<option selected>vision</option><option>audio</option>" in page
    made = client.post("/keys", json={"name": "ci", "scope": "read"}, headers=SAME_ORIGIN)
    assert (made.status_code, made.json()["project"]) == (201, "vision")
    assert client.post("/session/project", json={"project": "secret"}, headers=SAME_ORIGIN).status_code == 403
    assert client.post("/session/project", json={"project": "audio"}, headers=SAME_ORIGIN).status_code == 204
    assert client.get("/keys").status_code == 403, "a reader of that project"
    assert client.post("/session/project", json={"project": "vision"}, headers=SAME_ORIGIN).status_code == 204
    assert client.get("/keys").status_code == 200
    # A claim may hold one group instead of a list.
    sign_in(client, provider, "rui-3")
    assert client.get("/jobs").status_code == 200
    assert client.post("/jobs", json={}, headers=SAME_ORIGIN).status_code == 403


def test_sign_in_without_a_database_is_answered_with_a_page(client: TestClient, provider: OpenIdProvider) -> None:
    address = approve(provider, start(client))
    failure = OperationalError("SELECT", {}, Exception("the server closed the connection"))
    with patch("api.auth.oidc.sign_on.SignOn.finish", side_effect=failure):
        answer = client.get(address, headers=BROWSER)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "The database is unavailable." in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def test_people_in_no_mapped_group_are_refused(client: TestClient, provider: OpenIdProvider) -> None:
    refused = sign_in(client, provider, "eve-4")
    assert refused.status_code == 403
    assert "None of your groups gives access" in refused.text
    assert "ttm_session" not in refused.headers.get("set-cookie", "").replace("ttm_session_", "")
    assert client.get("/jobs").status_code == 401
    provider.people["eve-4"] = {"groups": {"ml-team": True}}
    assert sign_in(client, provider, "eve-4").status_code == 403
    provider.people["eve-4"] = {}
    assert sign_in(client, provider, "eve-4").status_code == 403


def test_a_group_that_loses_its_access_loses_it_in_running_sessions(
    settings: Settings, provider: OpenIdProvider
) -> None:
    with TestClient(create_app(settings)) as client:
        sign_in(client, provider)
        cookies = client.cookies
    changed = settings.model_copy(update={"group_access": {"others": GroupAccess(project="vision")}})
    with TestClient(create_app(changed), cookies=cookies) as client:
        assert client.get("/jobs").status_code == 401
    lowered = settings.model_copy(update={"group_access": {"ml-team": GroupAccess(project="vision", scope="read")}})
    with TestClient(create_app(lowered), cookies=cookies) as client:
        assert client.get("/jobs").status_code == 200
        assert client.post("/jobs", json={}, headers=SAME_ORIGIN).status_code == 403


def test_the_sign_out_ends_the_session_here_and_at_the_provider(
    client: TestClient, provider: OpenIdProvider, engine: Engine
) -> None:
    sign_in(client, provider)
    stolen = client.cookies["ttm_session"]
    answer = client.post("/sign-out", json={}, headers=SAME_ORIGIN)
    location = answer.json()["location"]
    assert location.startswith(f"{provider.url}/end-session?")
    assert 'ttm_session=""; HttpOnly; Max-Age=0' in answer.headers["set-cookie"]
    at_provider = httpx2.get(location)
    assert at_provider.headers["location"] == "http://testserver/sign-in"
    assert client.get("/jobs", headers={"Cookie": f"ttm_session={stolen}"}).status_code == 401
    with read_scope(engine) as session:
        assert [row.id_token for row in session.scalars(select(SignInSession))] == [None]


def test_sessions_expire_and_are_deleted(client: TestClient, provider: OpenIdProvider, engine: Engine) -> None:
    sign_in(client, provider)
    with session_scope(engine) as session:
        assert sign_in_sessions.delete_expired(session) == 0
        session.execute(update(SignInSession).values(expires_at=now(session) - timedelta(seconds=1)))
    assert client.get("/jobs").status_code == 401
    with session_scope(engine) as session:
        assert sign_in_sessions.delete_expired(session) == 1


def test_a_key_signs_in_with_its_rights_until_it_is_revoked(client: TestClient, engine: Engine) -> None:
    secret = make_key(engine, "audio")
    for wrong in ("", "ttm_00000000_" + "A" * 43, secret + "x", "k" * 200):
        assert client.post("/sign-in/key", json={"key": wrong}).json()["code"] == "unauthorized"
    assert client.post("/sign-in/key", json={"key": "k" * 201}).status_code == 422
    answer = client.post("/sign-in/key", json={"key": f" {secret} "})
    assert answer.status_code == 204
    assert secret not in answer.headers["set-cookie"]
    assert client.get("/keys").status_code == 200
    assert 'id="sign-out"' in client.get("/").text
    with session_scope(engine) as session:
        (key,) = keys.list_all(session)
        keys.revoke(session, key.id)
    client.app.state.services.callers.clear_cache()  # type: ignore[attr-defined]
    assert client.get("/keys").status_code == 401


def test_a_key_for_boards_opens_no_page(client: TestClient, engine: Engine) -> None:

    secret = make_key(engine, scope=Scope.MEASURE)
    assert client.post("/sign-in/key", json={"key": secret}).status_code == 403


def test_requests_without_credentials_are_refused_on_loopback_too(client: TestClient, engine: Engine) -> None:
    answer = client.get("/jobs")
    assert answer.status_code == 401
    # Basic would open the browser's own prompt instead of the page.
    assert answer.headers["www-authenticate"] == 'Bearer realm="ttm"'
    assert client.get("/jobs", headers=bearer(make_key(engine))).status_code == 200


def test_cookies_are_secure_behind_https(settings: Settings, provider: OpenIdProvider) -> None:
    public = settings.model_copy(update={"public_url": "https://ttm.example.com"})
    with TestClient(create_app(public), base_url="https://testserver") as client:
        started = start(client)
        asked_for = parse_qs(urlsplit(started.headers["location"]).query)
        assert asked_for["redirect_uri"] == ["https://ttm.example.com/sign-in/callback"]
        returned = urlsplit(approve(provider, started))
        finished = client.get(f"{returned.path}?{returned.query}", follow_redirects=False)
        (cookie,) = [each for each in finished.headers.get_list("set-cookie") if "ttm_session" in each]
        assert cookie.startswith("__Host-ttm_session=")
        assert "Secure" in cookie.split("; ")
        assert client.get("/jobs").status_code == 200
        # A cookie without the prefix may come from a page over http.
        token = client.cookies["__Host-ttm_session"]
        client.cookies.clear()
        assert client.get("/jobs", headers={"Cookie": f"ttm_session={token}"}).status_code == 401


def test_without_the_settings_only_the_address_of_its_page_exists(sqlite_client: TestClient) -> None:
    for path in ("/sign-in/start", "/sign-in/callback"):
        assert sqlite_client.get(path).status_code == 404
    for given, location in (
        ("", "/"),
        ("?next=/ui/jobs%3Fstate%3Dqueued", "/ui/jobs?state=queued"),
        ("?next=//evil.example", "/"),
        ("?next=/sign-in", "/"),
    ):
        answer = sqlite_client.get(f"/sign-in{given}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, location)
    assert "sign-out" not in sqlite_client.get("/").text
