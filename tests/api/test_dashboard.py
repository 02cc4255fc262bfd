"""Rendered pages: content, escaping, and no resources of other hosts."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.api.test_access import bearer, make_key
from tests.api.test_job_lists import explain
from tests.support.factories import queued
from tests.support.runs import STUDENT_SHA256, claim, fail, succeed, train
from tests.support.statements import statements
from tests.support.studies import create_study, jobs_of
from tests.support.study_jobs import end_study
from ttm_core.spec import recipes
from ttm_jobs.database.ids import new_id
from ttm_jobs.models import Scope
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
    answer = client.get("/ui/jobs")
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
    html = client.get("/ui/jobs").text
    assert_clean(html)
    link = re.search(r'data-label="Owner"><div><a [^>]*href="([^"]+)">ana</a>', html)
    assert link is not None
    filtered = client.get(link[1].replace("&amp;", "&")).text
    assert (first in filtered, second in filtered) == (True, False)
    job = client.get(f"/ui/jobs/{second}").text
    assert_clean(job)
    assert "submitted by" in job


def test_jobs_page_shows_failure_codes(client: TestClient, jobs: dict[str, str]) -> None:
    html = client.get("/ui/jobs?state=failed").text
    assert_clean(html)
    assert re.search(r'</span>failed</span> <span class="quiet" title="[^"<]*">bad dataset</span>', html)


def test_jobs_page_filters_and_paginates(client: TestClient, jobs: dict[str, str]) -> None:
    html = client.get("/ui/jobs?state=failed").text
    assert jobs["failed"] in html
    assert jobs["queued"] not in html
    body = {"student": "resnet18", "dataset": "", "method": "ce"}
    body["dataset"] = client.get(f"/jobs/{jobs['queued']}").json()["dataset"]
    for _ in range(50):
        client.post("/jobs", json=body)
    first = client.get("/ui/jobs").text
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older is not None
    assert jobs["queued"] not in first
    assert jobs["queued"] in client.get(older[1].replace("&amp;", "&")).text


def test_counters_of_states_follow_the_other_filters(client: TestClient, jobs: dict[str, str], engine: Engine) -> None:
    queued(engine, name="nightly", owner="ana", tags=["night"])
    for query in ("owner=ana", "tag=night", "name=nightly", "owner=ana&state=queued", "owner=ana&sort=name"):
        assert counters(client.get(f"/ui/jobs?{query}").text) == {"all": 1, "queued": 1}, query
    assert counters(client.get("/ui/jobs?owner=nobody&state=failed").text) == {"all": 0, "failed": 0}
    assert counters(client.get("/ui/jobs").text) == {"all": 5, "queued": 2, "running": 1, "succeeded": 1, "failed": 1}


def test_jobs_of_studies_are_hidden_until_they_are_shown(client: TestClient, engine: Engine) -> None:
    alone = queued(engine, name="alone")
    assert "jobs of studies" not in client.get("/ui/jobs").text
    study_id = create_study(engine, name=HOSTILE)
    end_study(engine, study_id)
    of_study = [job.id for job in jobs_of(engine, study_id)]

    html = client.get("/ui/jobs").text
    assert (alone in html, of_study[0] in html) == (True, False)
    assert counters(html) == {"all": 1, "queued": 1}
    shown = re.search(r'<a [^>]*href="([^"]+)">Show jobs of studies</a>', html)
    assert shown is not None
    html = client.get(shown[1]).text
    assert counters(html)["all"] == 1 + len(of_study)
    assert '<a class="plain" href="/ui/jobs">Hide jobs of studies</a>' in html

    (link,) = re.findall(r'href="([^"]+)">All jobs of this study</a>', client.get(f"/ui/studies/{study_id}").text)
    html = client.get(link).text
    assert_clean(html)
    assert counters(html)["all"] == len(of_study)
    assert f'<a href="/ui/jobs/{of_study[-1]}">cifar/' in html
    assert alone not in html
    assert f'Study <a href="/ui/studies/{study_id}">&lt;script&gt;' in html
    assert "No jobs match these filters" in client.get(f"/ui/jobs?study={new_id()}").text

    html = client.get("/ui/jobs?owner=nobody").text
    assert "/ui/jobs?owner=nobody&amp;study=all" in html
    (grouped,) = re.findall(r'href="([^"]+)">by study</a>', html)
    html = client.get(grouped.replace("&amp;", "&").replace("owner=nobody&", "")).text
    assert "<h2>&lt;script&gt;" in html
    # A tag of a job of a study finds the other jobs of studies, too.
    client.patch(f"/jobs/{of_study[0]}", json={"tags": ["best"]}).raise_for_status()
    assert '"/ui/jobs?tag=best&study=all"' in client.get(f"/ui/jobs/{of_study[0]}").text.replace("&amp;", "&")


def counters(html: str) -> dict[str, int]:
    """The numbers of jobs that the page has next to the states."""
    shown = html.partition('id="counters"')[2].partition("</nav>")[0]
    return {name: int(number) for name, number in re.findall(r"<a [^>]*>(\w+) <b>(\d+)</b>", shown)}


def test_filters_without_a_match_can_be_cleared(sqlite_client: TestClient) -> None:
    assert "No jobs yet" in sqlite_client.get("/ui/jobs").text
    for query in ("state=failed", "name=nothing", "tag=nothing&sort=name"):
        html = sqlite_client.get(f"/ui/jobs?{query}").text
        assert "No jobs match these filters" in html
        assert "No jobs yet" not in html
        link = re.search(r'<a href="([^"]+)">Clear filters</a>', html)
        assert link is not None
        assert link[1] == ("/ui/jobs?sort=name" if "sort" in query else "/ui/jobs")


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
        "succeeded": [
            STUDENT_SHA256,
            "Download student",
            "88.00%",
            "3.0 points below the teacher (96.7% kept)",
            "Full log",
        ],
        "failed": ["Failed: bad dataset", "The job&#39;s input", "&lt;script&gt;", "Retry"],
    }
    for text in expected[state]:
        assert text in answer.text or text.replace("&#39;", "'") in answer.text, text


def test_home_page_shows_what_runs_and_what_finished(client: TestClient, jobs: dict[str, str]) -> None:
    html = client.get("/").text
    assert_clean(html)
    active, _, rest = html.partition('id="finished"')
    finished = rest.partition('id="studies"')[0]
    assert f"/ui/jobs/{jobs['running']}" in active
    assert "1 running" in active
    assert "1 queued" in active
    for state in ("succeeded", "failed"):
        assert f"/ui/jobs/{jobs[state]}" in finished
    assert "3.0 points below the teacher" in finished
    assert "&lt;script&gt;" in finished


def test_home_page_lists_what_ended_last_without_the_jobs_of_studies(client: TestClient, engine: Engine) -> None:
    """In the order of their ends, not of their submissions: the oldest job ends last."""
    study_id = create_study(engine, name="kiosk")
    end_study(engine, study_id)
    jobs = [queued(engine, name=f"job {number}") for number in range(12)]
    for job_id in reversed(jobs):
        fail(engine, claim(engine, job_id), "x")
    finished = client.get("/").text.partition('id="finished"')[2]
    assert re.findall(r'href="/ui/jobs/([^"]+)"', finished) == jobs[:10]
    own: Engine = client.app.state.services.engine  # type: ignore[attr-defined]
    with statements(own, lambda sql: "ORDER BY jobs.finished_at" in sql) as executed:
        client.get("/")
    ((statement, parameters),) = executed
    assert "ix_jobs_ended_alone" in explain(engine, statement, parameters)
    for job_id in jobs[:5]:
        assert client.delete(f"/jobs/{job_id}").status_code == 204
    finished = client.get("/").text.partition('id="finished"')[2]
    assert f"/ui/studies/{study_id}" in finished
    assert "kiosk: " not in finished


def test_address_with_invalid_parameters_is_answered_with_a_page(client: TestClient) -> None:
    for path, problem in (
        ("/ui/jobs?sort=colour", "<code>sort</code>: &#39;colour&#39; is not one of"),
        ("/ui/jobs?state=nothing", "<code>state</code>: &#39;nothing&#39; is not one of"),
        ("/ui/queue?cursor=x", "The cursor is invalid"),
        ("/ui/recipes?q=" + "x" * 200, "<code>q</code>"),
    ):
        answer = client.get(path)
        assert answer.status_code == 422
        assert answer.headers["content-type"].startswith("text/html")
        assert_clean(answer.text)
        assert problem in answer.text


def test_home_page_without_jobs_says_how_to_start(sqlite_client: TestClient) -> None:
    assert "Nothing has run yet" in sqlite_client.get("/").text


@pytest.mark.parametrize(
    "path",
    [
        "teachers",
        "datasets",
        "uploads",
        "architectures",
        "recipes",
        "workers",
        "queue",
        "devices",
        "stores",
        "keys",
        "webhooks",
        "audit",
    ],
)
def test_every_page_is_in_the_navigation(client: TestClient, path: str) -> None:
    html = client.get(f"/ui/{path}").text
    assert_clean(html)
    assert re.search(rf'<a href="/ui/{path}" aria-current="page">', html)


def test_registry_and_upload_pages_show_hostile_names_as_text(client: TestClient, settings: Settings) -> None:
    dataset = {"name": "pets", "dataset": settings.data_roots[0].as_uri(), "description": HOSTILE}
    client.post("/datasets", json=dataset).raise_for_status()
    client.post("/uploads", content=b"data", headers={"Upload-Filename": "a"}).raise_for_status()
    html = client.get("/ui/datasets").text
    assert_clean(html)
    assert "dataset:pets" in html
    assert "upload:" in client.get("/ui/uploads").text


def test_webhooks_page_shows_deliveries(client: TestClient) -> None:
    hook = client.post("/webhooks", json={"url": "https://hooks.example.org/a"}).json()
    client.post(f"/webhooks/{hook['id']}/ping").raise_for_status()
    html = client.get("/ui/webhooks").text
    assert_clean(html)
    assert "https://hooks.example.org/a" in html
    assert hook["secret"] not in html
    assert "pending" in html


def test_audit_page_shows_and_filters_changes(client: TestClient, jobs: dict[str, str]) -> None:
    client.patch(f"/jobs/{jobs['queued']}", json={"name": "renamed"}).raise_for_status()
    html = client.get("/ui/audit").text
    assert_clean(html)
    assert "jobs_create" in html
    assert "jobs_update" in html
    filtered = client.get("/ui/audit?action=jobs_update").text
    assert jobs["queued"] in filtered
    assert "jobs_create" not in filtered
    assert "No changes match" in client.get("/ui/audit?object=unknown").text
    assert client.get("/ui/audit?actor=%00").status_code == 422


def test_form_starts_with_the_fields_of_a_job(client: TestClient, settings: Settings) -> None:
    body = {
        "name": HOSTILE,
        "student": "resnet18",
        "dataset": {"uri": settings.data_roots[0].as_uri(), "max_unreadable": 0.25},
        "method": "ce",
        "training": {"epochs": 7, "optimizer": {"name": "adamw", "learning_rate": 0.003}},
        "tags": ["nightly"],
        "priority": 0,
        "max_attempts": 9,
        "device": "cpu",
        "device_memory_bytes": 4321,
    }
    job = client.post("/jobs", json=body).json()
    html = client.get(f"/ui/new?from={job['id']}").text
    assert_clean(html)
    for pointer, value in {
        "/student/architecture": "resnet18",
        "/training/epochs": "7",
        "/training/optimizer/learning_rate": "0.003",
        "/priority": "0",
        "/max_attempts": "9",
    }.items():
        assert re.search(rf'name="{pointer}"[^>]* value="{value}"', html), pointer
    assert "<option selected>ce</option>" in html.replace(' value="ce"', "")
    rest = html.partition("<textarea")[2]
    for text in ("max_unreadable", "adamw", "nightly", "cpu", "4321"):
        assert text in rest
    assert "resnet18" not in rest.partition("</textarea>")[0]
    assert client.get("/ui/new?from=unknown").status_code == 404


def test_unknown_job_has_its_own_page(client: TestClient) -> None:
    answer = client.get("/ui/jobs/<script>")
    assert answer.status_code == 404
    assert_clean(answer.text)
    assert "The job does not exist." in answer.text


def test_missing_study_links_to_the_studies(client: TestClient) -> None:
    answer = client.get(f"/ui/studies/{new_id()}")
    assert answer.status_code == 404
    assert '<a href="/ui/studies">All studies</a>' in answer.text


def test_form_says_that_a_recipe_is_unknown(client: TestClient) -> None:
    name = recipes.names()[0]
    html = client.get(f"/ui/new?recipe={name}x").text
    assert_clean(html)
    assert f"No recipe is selected: unknown recipe &#39;{name}x&#39;; did you mean {name}" in html
    assert "No recipe is selected" not in client.get(f"/ui/new?recipe={name}").text


def test_long_messages_of_failures_are_shown_on_request(client: TestClient, engine: Engine, settings: Settings) -> None:
    lines = [f"  line {number} {HOSTILE}" for number in range(40)]
    job_id = queued(engine)
    fail(engine, claim(engine, job_id), "\n".join(lines))
    html = client.get(f"/ui/jobs/{job_id}").text
    assert_clean(html)
    start, _, whole = html.partition('id="failure"')[2].partition("<details><summary>Whole message")
    assert "\n  line 5" in start
    assert "line 6" not in start
    assert "\n  line 39" in whole.partition("</details>")[0]
    assert "line 6" not in client.get("/").text


def test_unknown_address_under_ui_is_answered_with_a_page(client: TestClient) -> None:
    answer = client.get("/ui/job")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "There is no such page." in answer.text


def test_pages_offer_readers_no_changes(
    client: TestClient, engine: Engine, settings: Settings, jobs: dict[str, str]
) -> None:
    client.post("/teachers", json={"name": "ours", "teacher": {"checkpoint": "hf:timm/resnet18.a1_in1k"}})
    client.post("/uploads", content=b"x")
    client.put("/views/jobs/mine", json={"query": "state=failed"})
    study_id = create_study(engine)
    read, submit = (bearer(make_key(engine, scope=scope)) for scope in (Scope.READ, Scope.SUBMIT))
    change = re.compile(r'data-(?:post|delete|delete-view|save|inspect|cancel)\b|/ui/new\b|<form id="edit"')
    paths = [f"/ui/{name}" for name in ("jobs", "studies", "uploads", "teachers", "architectures", "recipes", "queue")]
    paths += ["/", f"/ui/studies/{study_id}", *(f"/ui/jobs/{each}" for each in jobs.values())]
    for path in paths:
        page = client.get(path, headers=read)
        assert page.status_code == 200
        assert_clean(page.text)
        assert change.findall(page.text) == [], path
        assert change.findall(client.get(path, headers=submit).text)
    for path in ("/ui/new", "/ui/new-study"):
        answer = client.get(path, headers=read)
        assert answer.status_code == 403
        assert "requires the scope <code>submit</code>; yours is <code>read</code>." in answer.text
        assert client.get(path, headers=submit).status_code == 200


@pytest.mark.parametrize("address", ["/ui", "/ui/"])
def test_start_of_all_addresses_leads_to_the_home_page(client: TestClient, address: str) -> None:
    assert client.get(address, follow_redirects=False).headers["location"] == "/"


def test_group_without_jobs_says_whether_filters_hide_them(sqlite_client: TestClient) -> None:
    assert "No jobs yet." in sqlite_client.get("/ui/jobs?group=tag").text
    assert "No jobs match these filters." in sqlite_client.get("/ui/jobs?group=tag&owner=ana").text


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
    page = sqlite_client.get("/ui/jobs").text
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        assert sqlite_client.get(path).status_code == 200
    static = Path("api/dashboard/static").resolve()
    for script in static.rglob("*.js"):
        for imported in re.findall(r'from "(\.[^"]+)"', script.read_text()):
            path = (script.parent / imported).resolve().relative_to(static)
            assert sqlite_client.get(f"/static/{path}").status_code == 200
    assert sqlite_client.get("/static/..%2fpages.py").status_code == 404
