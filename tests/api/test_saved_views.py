"""Saved views of the lists: names, queries, limits, and projects."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.api.test_access import make_key
from ttm_jobs.database.engine import session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.errors import TooManyViews
from ttm_jobs.models import Scope
from ttm_jobs.repositories.dashboard import saved_views


def test_view_is_saved_changed_listed_and_deleted(client: TestClient) -> None:
    path = "/views/jobs/my%20failed%20jobs"
    saved = client.put(path, json={"query": "state=failed&name=a%26b&cursor=abc&page=3"})
    assert saved.status_code == 200, saved.text
    assert saved.json()["query"] == "state=failed&name=a%26b"
    assert saved.json()["href"] == "/ui/jobs?state=failed&name=a%26b"
    assert client.get(saved.json()["href"]).status_code == 200
    client.put(path, json={"query": "state=queued"}).raise_for_status()
    client.put("/views/studies/all", json={"query": ""}).raise_for_status()
    views = client.get("/views").json()["items"]
    assert [(view["page"], view["name"], view["href"]) for view in views] == [
        ("jobs", "my failed jobs", "/ui/jobs?state=queued"),
        ("studies", "all", "/ui/studies"),
    ]
    assert [view["name"] for view in client.get("/views?page=studies").json()["items"]] == ["all"]
    assert client.delete(path).status_code == 204
    missing = client.delete(path)
    assert (missing.status_code, missing.json()["code"]) == (404, "view_not_found")


def test_a_name_may_have_slashes(sqlite_client: TestClient) -> None:
    path = "/views/jobs/night%2Fresnet18"
    assert sqlite_client.put(path, json={"query": "state=failed"}).json()["name"] == "night/resnet18"
    page = sqlite_client.get("/ui/jobs").text
    assert 'data-delete-view="/views/jobs/night/resnet18"' in page
    assert sqlite_client.delete("/views/jobs/night/resnet18").status_code == 204
    assert sqlite_client.get("/views").json()["items"] == []


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/views/keys/x", ""),
        ("/views/jobs/.x", ""),
        ("/views/jobs/%20x", ""),
        ("/views/jobs/a%2F%2Fb", ""),
        ("/views/jobs/a%2F..%2Fb", ""),
        ("/views/jobs/a%2F", ""),
        ("/views/jobs/%2Fa", ""),
        ("/views/jobs/x%00", ""),
        ("/views/jobs/" + 61 * "x", ""),
        ("/views/jobs/x", "a b"),
        ("/views/jobs/x", 2001 * "x"),
    ],
)
def test_invalid_views_are_refused(sqlite_client: TestClient, path: str, query: str) -> None:
    refused = sqlite_client.put(path, json={"query": query})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("page", "query", "reason"),
    [
        ("jobs", "state=nothing", "`state.0`: 'nothing' is not one of 'queued'"),
        ("jobs", "sort=colour", "`sort`: 'colour' is not one of 'name'"),
        ("jobs", "group=state", "`group`: 'state' is not one of 'tag'"),
        ("jobs", "stat=failed", "`stat`: no such field. Did you mean `state`?"),
        ("studies", "state=queued&state=nothing", "`state`: 'nothing' is not one of"),
        ("studies", "sort=name", "`sort`: no such field."),
    ],
)
def test_queries_that_the_page_refuses_are_refused(
    sqlite_client: TestClient, page: str, query: str, reason: str
) -> None:
    refused = sqlite_client.put(f"/views/{page}/x", json={"query": query})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    [error] = refused.json()["errors"]
    assert error["pointer"] == "/query"
    assert error["detail"].startswith(reason)


def test_views_belong_to_a_project_and_changes_need_submit(client: TestClient, engine: Engine) -> None:
    keys = {
        name: {"Authorization": f"Bearer {make_key(engine, project, scope)}"}
        for name, project, scope in (
            ("reader", "vision", Scope.READ),
            ("member", "vision", Scope.SUBMIT),
            ("other", "audio", Scope.SUBMIT),
        )
    }
    body = {"query": "state=failed"}
    assert client.put("/views/jobs/x", json=body, headers=keys["reader"]).status_code == 403
    assert client.put("/views/jobs/x", json=body, headers=keys["member"]).status_code == 200
    assert len(client.get("/views", headers=keys["reader"]).json()["items"]) == 1
    assert client.get("/views", headers=keys["other"]).json()["items"] == []
    assert client.delete("/views/jobs/x", headers=keys["other"]).status_code == 404


def test_number_of_views_is_limited(engine: Engine) -> None:
    bound = bound_to(engine, "vision")
    with session_scope(bound) as session:
        for number in range(100):
            saved_views.save(session, "jobs", f"view {number}", "")
            session.flush()
        with pytest.raises(TooManyViews):
            saved_views.save(session, "studies", "one more", "")
        assert saved_views.save(session, "jobs", "view 7", "state=failed").query == "state=failed"
