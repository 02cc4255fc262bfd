"""Text that a database cannot store, in every place that accepts text."""

import pytest
from fastapi.testclient import TestClient

from tests.api.test_bad_requests import assert_problem
from ttm_jobs.settings import Settings

HOSTILE = ["%00", "a%00b", "%ff%fe", "%ed%a0%80", "%F0%9F%98%80", "..%2f..", "%0d%0aX-Injected:%20yes", "a" * 3000]


@pytest.fixture
def job_id(client: TestClient, settings: Settings) -> str:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    return str(client.post("/jobs", json=body).json()["id"])


def test_hostile_text_in_paths(client: TestClient, job_id: str) -> None:
    for text in HOSTILE:
        assert_problem(client.get(f"/jobs/{text}"), 404, "job_not_found" if "2f" not in text else "no_such_route")
        for folder in ("/uploads", f"/jobs/{job_id}/artifacts", "/architectures", "/static"):
            answer = client.get(f"{folder}/{text}")
            assert answer.status_code in (404, 422), (folder, text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert "x-injected" not in answer.headers
        assert client.get(f"/ui/jobs/{text}").status_code == 404


def test_hostile_text_in_queries(client: TestClient, job_id: str) -> None:
    for text in HOSTILE:
        for query in (
            f"/jobs?cursor={text}",
            f"/jobs?state={text}",
            f"/jobs?{text}={text}",
            f"/jobs/{job_id}/metrics?name={text}",
            f"/ui/jobs?cursor={text}",
            f"/architectures?q={text}",
            f"/architectures?family={text}",
        ):
            assert client.get(query).status_code in (200, 422), query


def test_hostile_text_in_file_names(client: TestClient) -> None:
    for text in HOSTILE:
        header = {"content-disposition": f"attachment; filename*=utf-8''{text}"}
        answer = client.post("/uploads", content=b"x", headers=header)
        assert answer.status_code == 201
        assert client.get(answer.headers["location"]).json() == answer.json()
        assert client.post(f"/uploads?filename={text}", content=b"x").status_code in (201, 422)


def test_hostile_text_in_specs(client: TestClient, settings: Settings) -> None:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    for text in ("a\u202eb", "\U0001f600", "\ufffe", "'; DROP TABLE jobs; --"):
        answer = client.post("/jobs", json={**body, "name": text})
        assert answer.status_code == 201, text
        assert client.get(answer.headers["location"]).json()["name"] == text
        assert client.get(f"/ui{answer.headers['location']}").status_code == 200
    for text in ("\x00", "\x1b[2J", "a\x7f"):
        for field in ("name", "student", "dataset"):
            assert client.post("/jobs", json={**body, field: text}).status_code == 422
    assert client.post("/jobs", json={**body, "name": "\u202e"}).status_code == 422
