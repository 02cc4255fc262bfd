"""Rendered pages: content, escaping, and no resources of other hosts."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.support.factories import queued
from tests.support.runs import STUDENT_SHA256, claim, fail, succeed, train
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage

HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(1)>{{7*7}}"""


@pytest.fixture
def jobs(client: TestClient, engine: Engine, storage: Storage, settings: Settings) -> dict[str, str]:
    """One job in each state."""

    def submit(name: str) -> str:
        body = {"name": name, "student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
        return str(client.post("/jobs", json=body).json()["id"])

    created = {name: submit(HOSTILE) for name in ("queued", "running", "succeeded", "failed")}
    train(engine, claim(engine, created["running"]), range(1, 5))
    succeed(engine, storage, claim(engine, created["succeeded"]))
    fail(engine, claim(engine, created["failed"]), HOSTILE)
    return created


def assert_clean(html: str) -> None:
    """Asserts that there is no inline script or style, no resource of another host, and no unescaped user input."""
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=[^&]", html.replace("onerror=alert", ""))
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", html)
    assert "<img src=x" not in html
    assert "49" not in re.findall(r"onerror=alert\(1\)&gt;([^<]*)", html)


def test_jobs_page_shows_states_as_text(client: TestClient, jobs: dict[str, str]) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert_clean(answer.text)
    for state, job_id in jobs.items():
        assert f"/ui/jobs/{job_id}" in answer.text
        assert re.search(
            rf'class="state {state}"><span class="shape" aria-hidden="true">.</span>{state}</span>', answer.text
        )


def test_jobs_page_shows_and_filters_by_owner(client: TestClient, engine: Engine) -> None:
    first, second = queued(engine, owner="ana"), queued(engine, owner=HOSTILE)
    html = client.get("/").text
    assert_clean(html)
    link = re.search(r'data-label="Owner"><div><a [^>]*href="([^"]+)">ana</a>', html)
    assert link is not None
    filtered = client.get(link[1].replace("&amp;", "&")).text
    assert (first in filtered, second in filtered) == (True, False)
    job = client.get(f"/ui/jobs/{second}").text
    assert_clean(job)
    assert "submitted by" in job


def test_jobs_page_shows_failure_codes(client: TestClient, jobs: dict[str, str]) -> None:
    html = client.get("/?state=failed").text
    assert_clean(html)
    assert re.search(r'</span>failed</span> <span class="quiet" title="[^"<]*">bad dataset</span>', html)


def test_jobs_page_filters_and_paginates(client: TestClient, jobs: dict[str, str]) -> None:
    html = client.get("/?state=failed").text
    assert jobs["failed"] in html
    assert jobs["queued"] not in html
    body = {"student": "resnet18", "dataset": "", "method": "ce"}
    body["dataset"] = client.get(f"/jobs/{jobs['queued']}").json()["dataset"]
    for _ in range(50):
        client.post("/jobs", json=body)
    first = client.get("/").text
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older is not None
    assert jobs["queued"] not in first
    assert jobs["queued"] in client.get(older[1].replace("&amp;", "&")).text


def test_filters_without_a_match_can_be_cleared(sqlite_client: TestClient) -> None:
    assert "No jobs yet" in sqlite_client.get("/").text
    for query in ("state=failed", "name=nothing", "tag=nothing&sort=name"):
        html = sqlite_client.get(f"/?{query}").text
        assert "No jobs match these filters" in html
        assert "No jobs yet" not in html
        link = re.search(r'<a href="([^"]+)">Clear filters</a>', html)
        assert link is not None
        assert link[1] == ("/?sort=name" if "sort" in query else "/")


def test_job_page_counts_attempts_that_ran(client: TestClient, jobs: dict[str, str]) -> None:
    for state, count in (("queued", 0), ("running", 1), ("failed", 1)):
        assert (
            f'<dt>Attempts</dt><dd>{count} <span class="quiet">limit 3</span>'
            in client.get(f"/ui/jobs/{jobs[state]}").text
        )


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "failed"])
def test_job_page_content(client: TestClient, jobs: dict[str, str], state: str) -> None:
    answer = client.get(f"/ui/jobs/{jobs[state]}")
    assert answer.status_code == 200
    assert_clean(answer.text)
    expected = {
        "queued": ['data-post="/jobs/', "Cancel", "as submitted"],
        "running": ["epoch 1 of 1, step 4 of 100", "1 min 36 s", '<progress max="1" value="0.04"', "95.00%"],
        "succeeded": [STUDENT_SHA256, "Download student", "88.00%", "-3.00 points", "96.7%", "Full log"],
        "failed": ["Failed: bad dataset", "The job&#39;s input", "&lt;script&gt;", "Retry"],
    }
    for text in expected[state]:
        assert text in answer.text or text.replace("&#39;", "'") in answer.text, text


def test_unknown_job_has_its_own_page(client: TestClient) -> None:
    answer = client.get("/ui/jobs/<script>")
    assert answer.status_code == 404
    assert_clean(answer.text)
    assert "Job not found" in answer.text


def test_api_reference_is_complete(sqlite_client: TestClient) -> None:
    html = sqlite_client.get("/docs").text
    document = sqlite_client.get("/openapi.json").json()
    assert_clean(html)
    for methods in document["paths"].values():
        for operation in methods.values():
            assert f'id="{operation["operationId"]}"' in html
    for name in document["components"]["schemas"]:
        assert f'id="schema-{name}"' in html
    links = set(re.findall(r'href="#([^"]+)"', html))
    assert links <= set(re.findall(r'id="([^"]+)"', html))
    assert 'id="unknown_architecture"' in html, "the `type` of a problem links here"


def test_only_static_files_are_served(sqlite_client: TestClient) -> None:
    page = sqlite_client.get("/").text
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        assert sqlite_client.get(path).status_code == 200
    static = Path("api/dashboard/static").resolve()
    for script in static.rglob("*.js"):
        for imported in re.findall(r'from "(\.[^"]+)"', script.read_text()):
            path = (script.parent / imported).resolve().relative_to(static)
            assert sqlite_client.get(f"/static/{path}").status_code == 200
    assert sqlite_client.get("/static/..%2fpages.py").status_code == 404
