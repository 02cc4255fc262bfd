"""Which sources a project may read: shown and restricted over the API."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.api.test_access import bearer, make_key
from ttm_jobs.database.engine import read_scope
from ttm_jobs.models import Project, Scope
from ttm_jobs.settings import Settings

NOTHING: dict[str, list[str]] = {"data_roots": [], "origins": [], "buckets": []}
VISION = "/projects/vision/sources"
ALLOWED = {"data_roots": [], "origins": ["https://data.example.org"], "buckets": ["gs://pets"]}


@pytest.fixture
def operator(client: TestClient, engine: Engine) -> TestClient:
    """Has a key of the project `default` with scope `admin`."""
    client.headers.update(bearer(make_key(engine)))
    return client


def test_a_restriction_applies_until_it_is_lifted(operator: TestClient, engine: Engine, settings: Settings) -> None:
    root = str(settings.data_roots[0])
    member = bearer(make_key(engine, "vision", scope=Scope.SUBMIT))
    job = {"student": "resnet18", "method": "ce", "dataset": f"file://{root}"}
    assert operator.post("/jobs", json=job, headers=member).status_code == 201
    answer = operator.put(VISION, json=ALLOWED)
    assert answer.json() == {"project": "vision", "restricted": True, **ALLOWED}
    assert operator.get(VISION).json() == answer.json()
    (error,) = operator.post("/jobs", json=job, headers=member).json()["errors"]
    assert "restricted to some sources" in error["detail"]
    with read_scope(engine) as session:
        assert session.get_one(Project, "vision").sources == ALLOWED
    assert operator.delete(VISION).status_code == 204
    shown = operator.get(VISION).json()
    assert (shown["restricted"], shown["data_roots"]) == (False, [root])
    assert operator.post("/jobs", json=job, headers=member).status_code == 201


def test_both_projects_see_the_change_in_their_audit_log(operator: TestClient, engine: Engine) -> None:
    admin = bearer(make_key(engine, "vision"))
    operator.put(VISION, json=NOTHING, headers={"X-Request-ID": "restrict-1"})
    operator.delete(VISION)
    for headers in ({}, admin):
        entries = operator.get("/audit", headers=headers).json()["items"]
        assert [(each["action"], each["object"]) for each in entries] == [
            ("projects_unrestrict", "vision"),
            ("projects_restrict", "vision"),
        ]
        assert entries[1]["request_id"] == "restrict-1"
    operator.put("/projects/default/sources", json=NOTHING)
    assert len(operator.get("/audit").json()["items"]) == 3


def test_only_administrators_of_the_default_project_change_it(operator: TestClient, engine: Engine) -> None:
    admin = bearer(make_key(engine, "vision"))
    operator.put(VISION, json=NOTHING)
    assert operator.get(VISION, headers=admin).json()["restricted"]
    for method in ("PUT", "DELETE"):
        refused = operator.request(method, VISION, headers=admin, json=NOTHING if method == "PUT" else None)
        assert refused.status_code == 403
        assert "in the project default" in refused.json()["detail"]
    assert operator.get(VISION, headers=admin).json()["restricted"]
    submit = bearer(make_key(engine, scope=Scope.SUBMIT))
    assert [operator.request(method, VISION, headers=submit).status_code for method in ("GET", "DELETE")] == [403, 403]
    # A project that is not one's own looks like one that does not exist.
    for headers, path in ((admin, "/projects/default/sources"), (admin, "/projects/none/sources")):
        assert operator.get(path, headers=headers).json()["code"] == "project_not_found"
    assert operator.get("/projects/none/sources").status_code == 404
    assert operator.delete("/projects/none/sources").status_code == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data_roots", "data"),
        ("data_roots", "/a\0b"),
        ("origins", "data.example.org"),
        ("origins", "https://user@data.example.org"),
        ("buckets", "a bucket"),
        ("buckets", ""),
    ],
)
def test_malformed_sources_are_refused(operator: TestClient, field: str, value: str) -> None:
    answer = operator.put(VISION, json={**NOTHING, field: [value]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"/{field}/0"
    assert operator.put("/projects/Vision/sources", json=NOTHING).status_code == 422
    missing = {name: each for name, each in NOTHING.items() if name != field}
    assert operator.put(VISION, json=missing).json()["errors"][0]["pointer"] == f"/{field}"
    assert operator.put(VISION, json={**NOTHING, "hosts": []}).status_code == 422
