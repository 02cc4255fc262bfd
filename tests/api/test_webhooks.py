"""The webhooks endpoints."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.app import create_app
from tests.api.test_access import bearer, make_key
from tests.api.test_bad_requests import assert_problem, pointers
from tests.support.factories import queued
from ttm_jobs.models import Scope
from ttm_jobs.settings import Settings

URL = "https://hooks.example.org/ttm"


def made(client: TestClient, **fields: Any) -> dict[str, Any]:
    answer = client.post("/webhooks", json={"url": URL, **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_secret_is_shown_once(client: TestClient) -> None:
    webhook = made(client, events=["job.failed", "job.failed"], description="pager")
    secret = webhook.pop("secret")
    assert secret.startswith("whsec_")
    assert webhook["events"] == ["job.failed"]
    assert client.get(f"/webhooks/{webhook['id']}").json() == webhook
    assert client.get("/webhooks").json()["items"] == [webhook]
    rotated = client.post(f"/webhooks/{webhook['id']}/rotate").json()
    assert rotated.pop("secret") != secret
    assert rotated == webhook


def test_omitted_fields_are_unchanged(client: TestClient) -> None:
    path = f"/webhooks/{made(client, events=['job.failed'], description='pager')['id']}"
    assert client.patch(path, json={"enabled": False}).json()["enabled"] is False
    changed = client.patch(path, json={"url": URL + "/2", "description": None}).json()
    assert (changed["url"], changed["events"], changed["description"]) == (URL + "/2", ["job.failed"], None)
    assert changed["disabled_reason"] == "Disabled by its project."
    assert client.patch(path, json={"enabled": True}).json()["disabled_at"] is None
    assert client.patch(path, json={"events": []}).json()["events"] == []
    assert client.delete(path).status_code == 204
    assert_problem(client.get(path), 404, "webhook_not_found")


def test_a_webhook_whose_url_is_no_longer_allowed_can_be_disabled(settings: Settings) -> None:
    allowed = settings.model_copy(update={"private_hosts": ("10.0.0.8:80",)})
    with TestClient(create_app(allowed)) as client:
        url = "http://10.0.0.8/hook"
        path = f"/webhooks/{made(client, url=url)['id']}"
    with TestClient(create_app(settings)) as client:
        for changes in ({"description": "old"}, {"events": ["job.failed"]}, {"enabled": False}, {}):
            assert client.patch(path, json=changes).status_code == 200, changes
        for changes in ({"enabled": True}, {"url": url}, {"url": "http://10.0.0.8/other"}):
            problem = assert_problem(client.patch(path, json=changes), 422, "uri_not_allowed")
            assert pointers(problem) == ["/url"]
        assert client.get(path).json()["enabled"] is False
        assert client.patch(path, json={"url": URL, "enabled": True}).json()["enabled"] is True


def test_deliveries_are_paged_newest_first(client: TestClient, engine: Engine) -> None:
    webhook = made(client, events=["job.queued"])
    for _ in range(4):
        queued(engine)
    ping = client.post(f"/webhooks/{webhook['id']}/ping")
    assert (ping.status_code, ping.json()["event"], ping.json()["state"]) == (202, "webhook.ping", "pending")
    seen, cursor = [], None
    while True:
        page = client.get(
            f"/webhooks/{webhook['id']}/deliveries", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
        ).json()
        seen += page["items"]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
    assert seen[0] == ping.json()
    assert [row["event"] for row in seen] == ["webhook.ping", *["job.queued"] * 4]
    assert len({row["id"] for row in seen}) == 5
    assert client.delete(f"/webhooks/{webhook['id']}").status_code == 204


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://hooks.example.org/", "uri_not_allowed"),
        ("https://127.0.0.1/", "uri_not_allowed"),
        ("https://10.0.0.8:8443/x", "uri_not_allowed"),
        ("https://169.254.169.254/latest/meta-data", "uri_not_allowed"),
        ("https://[::1]/", "uri_not_allowed"),
        ("https://[::ffff:10.0.0.1]/", "uri_not_allowed"),
        ("https://localhost/", "uri_not_allowed"),
        ("https://user:secret@hooks.example.org/", "uri_not_allowed"),
        ("https://hooks.example.org/#sha256=" + "0" * 64, "uri_not_allowed"),
        ("file:///etc/passwd", "uri_not_allowed"),
        ("s3://bucket/key", "uri_not_allowed"),
        ("https://2130706433/", "uri_not_allowed"),
        ("ftp://hooks.example.org/", "uri_not_allowed"),
        ("", "invalid_request"),
    ],
)
def test_forbidden_urls_are_refused(sqlite_client: TestClient, url: str, code: str) -> None:
    assert pointers(assert_problem(sqlite_client.post("/webhooks", json={"url": url}), 422, code)) == ["/url"]
    path = f"/webhooks/{made(sqlite_client)['id']}"
    assert_problem(sqlite_client.patch(path, json={"url": url}), 422, code)
    assert sqlite_client.get(path).json()["url"] == URL


@pytest.mark.parametrize("url", ["ftp://hooks.example.org/", "hooks.example.org", "file:///etc/passwd"])
def test_the_message_on_another_scheme_is_about_webhooks(sqlite_client: TestClient, url: str) -> None:
    problem = assert_problem(sqlite_client.post("/webhooks", json={"url": url}), 422, "uri_not_allowed")
    assert problem["errors"][0]["detail"] == "The URL of a webhook must be https://HOST/PATH."


def test_allowed_private_host_is_accepted(sqlite_settings: Settings) -> None:
    allowed = sqlite_settings.model_copy(update={"private_hosts": ("10.0.0.8:80", "hooks:8080")})
    with TestClient(create_app(allowed)) as client:
        for url in ("http://10.0.0.8/x", "http://hooks:8080/x"):
            assert client.post("/webhooks", json={"url": url}).status_code == 201
        assert client.post("/webhooks", json={"url": "http://10.0.0.8:81/x"}).status_code == 422


def test_unknown_events_and_too_many_webhooks_are_refused(sqlite_client: TestClient) -> None:
    problem = assert_problem(
        sqlite_client.post("/webhooks", json={"url": URL, "events": ["job.failed", "job.lost"]}), 422, "invalid_request"
    )
    assert pointers(problem) == ["/events/1"]
    for _ in range(20):
        made(sqlite_client)
    assert_problem(sqlite_client.post("/webhooks", json={"url": URL}), 403, "too_many_webhooks")


def test_changes_require_an_admin_key(client: TestClient, engine: Engine) -> None:
    path = f"/webhooks/{made(client)['id']}"
    submitting = bearer(make_key(engine, scope=Scope.SUBMIT))
    assert client.get(path, headers=submitting).status_code == 200
    for method, target, body in (
        ("POST", "/webhooks", {"url": URL}),
        ("PATCH", path, {"enabled": False}),
        ("DELETE", path, None),
        ("POST", f"{path}/rotate", None),
        ("POST", f"{path}/ping", None),
        ("POST", f"{path}/replay?since=2027-01-01T00:00:00Z", None),
        ("POST", f"{path}/deliveries/{path[-36:]}/redeliver", None),
    ):
        assert_problem(client.request(method, target, json=body, headers=submitting), 403, "forbidden")


def test_disabled_webhooks_and_unknown_deliveries_are_not_sent_again(client: TestClient, engine: Engine) -> None:
    path, other = (f"/webhooks/{made(client)['id']}" for _ in range(2))
    delivery = client.post(f"{other}/ping").json()["id"]
    assert_problem(client.post(f"{path}/deliveries/{delivery}/redeliver"), 404, "delivery_not_found")
    assert_problem(client.post(f"{path}/deliveries/x/redeliver"), 404, "delivery_not_found")
    unchanged = client.post(f"{other}/deliveries/{delivery}/redeliver")
    assert (unchanged.status_code, unchanged.json()["state"]) == (202, "pending")
    for since in ("yesterday", "2027-01-01T00:00:00", ""):
        assert_problem(client.post(f"{path}/replay", params={"since": since}), 422, "invalid_request")
    client.patch(path, json={"enabled": False})
    queued(engine)
    [missed] = client.get(f"{path}/deliveries").json()["items"]
    assert (missed["event"], missed["state"], missed["error"]) == ("job.queued", "failed", "The webhook was disabled.")
    since = {"since": missed["created_at"]}
    assert_problem(client.post(f"{path}/replay", params=since), 409, "webhook_disabled")
    assert_problem(client.post(f"{path}/deliveries/{missed['id']}/redeliver"), 409, "webhook_disabled")
    client.patch(path, json={"enabled": True})
    for expected in (1, 0):
        replayed = client.post(f"{path}/replay", params=since)
        assert (replayed.status_code, replayed.json()) == (202, {"deliveries": expected})
