"""Rendered pages of studies."""

import copy
import re
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.api.test_dashboard import HOSTILE, assert_clean
from tests.api.test_studies import measure_all
from tests.support.measuring import measured
from tests.support.studies import advance, create_study, jobs_of, study_of
from tests.support.study_jobs import end_jobs, end_study
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import Job, Study
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.measuring import measurements
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.storage import Storage


@pytest.fixture
def ended(engine: Engine) -> str:
    """A study that has succeeded. Two of its students have no shown difference in accuracy."""
    study_id = create_study(
        engine,
        name=HOSTILE,
        limits={"bytes": 1_500_000},
        students=["cifar/resnet8", "cifar/resnet20", "cifar/resnet110"],
    )
    end_study(engine, study_id)
    return study_id


def test_a_study_shows_its_recommendation_and_why_candidates_were_rejected(client: TestClient, ended: str) -> None:
    html = client.get(f"/ui/studies/{ended}").text
    assert_clean(html)
    assert "Recommended: cifar/resnet20" in html
    assert "Why this one" in html
    found = client.get(f"/studies/{ended}").json()["recommendation"]
    headline = re.search(
        r"<b>([\d.]+%)</b> top-1 on the validation split, [\d.]+ points below the teacher \(([\d.]+%) kept\); <b>([\d.]+%)</b> "
        "on the test split",
        html,
    )
    assert headline is not None
    assert headline.groups() == tuple(f"{found[name]:.1%}" for name in ("validation", "retention", "test"))
    # The limit applies to the retention on the validation split.
    assert f"<dt>Retention, validation split</dt><dd>{found['retention']:.2%}" in html
    assert f"<dt>Accuracy, test split</dt><dd>{found['test']:.2%}" in html
    assert re.search(r"<dt>Budget</dt><dd>\d+ <span class=\"quiet\">of at most \d+ epochs", html)
    assert "screen: int8: its size of 1,736,564 bytes is above the limit of 1,500,000 bytes" in html
    assert "Against training on the labels alone (float32 files):" in html
    assert "2 runs, paired t" in html
    assert f"/jobs/{client.get(f'/studies/{ended}').json()['recommendation']['job']}/student" in html
    study = client.get(f"/studies/{ended}").json()
    about = re.search(r"<p class=\"quiet\">Teacher .*?</p>", html)
    assert about is not None
    assert study["spec"]["teacher"]["checkpoint"] in about[0]
    assert study["spec"]["dataset"]["uri"] in about[0]
    assert f"<code>{ended}</code> · submitted" in html
    listed = client.get("/ui/studies").text
    assert_clean(listed)
    assert f"/ui/studies/{ended}" in listed
    assert "The most accurate student with at most 1.5 MB" in listed
    assert f"/ui/studies/{ended}" not in client.get("/ui/studies", params={"state": "running"}).text


def test_the_page_has_as_many_digits_as_tell_a_miss_from_its_limit(client: TestClient, engine: Engine) -> None:
    study_id = create_study(engine, limits={"accuracy": 0.99}, students=["cifar/resnet8"], seeds=1)
    end_study(engine, study_id)
    found = client.get(f"/studies/{study_id}").json()["recommendation"]
    value = found["misses"][0]["value"]
    with session_scope(engine) as session:
        study = session.get_one(Study, study_id)
        result = copy.deepcopy(study.result)
        assert result is not None
        result["recommendation"]["misses"][0]["allowed"] = value + 1e-6
        study.result = result
    (miss,) = client.get(f"/studies/{study_id}").json()["recommendation"]["misses"]
    below, limit = re.findall(r"[\d.]+%", miss["message"])
    assert below != limit
    assert f"this one misses them least: {miss['message']}." in client.get(f"/ui/studies/{study_id}").text


def test_the_card_shows_the_latency_on_the_device_of_the_limits(
    client: TestClient, engine: Engine, storage: Storage
) -> None:
    limits = {"latency_ms": 10, "device": "pi5", "precision": "int8"}
    study_id = create_study(engine, limits=limits, students=["cifar/resnet8"])
    advance(engine)
    end_jobs(engine, study_id, storage)
    advance(engine)
    assert measure_all(client, 5.0) == 1
    end_study(engine, study_id, storage)
    job_id = client.get(f"/studies/{study_id}").json()["recommendation"]["job"]
    with session_scope(engine) as session:
        job = session.get_one(Job, job_id)
        file = PublishedFile("student-int8.onnx", "key", "application/octet-stream", 1, "0" * 64)
        artifacts.record(session, job, [file])
        measurements.record(session, job, file.name, "worker", measured("0" * 64, p50_ms=2.0), created_by="worker")
    html = client.get(f"/ui/studies/{study_id}").text
    assert re.search(r"5 ms <span class=\"quiet\">on pi5</span>, 2 ms <span class=\"quiet\">on worker</span>", html)


def test_a_trial_links_to_its_study(client: TestClient, ended: str) -> None:
    jobs = client.get("/jobs", params={"study": ended, "limit": 200}).json()["items"]
    for job in jobs:
        html = client.get(f"/ui/jobs/{job['id']}").text
        assert_clean(html)
        assert f'<a href="/ui/studies/{ended}">a study</a>' in html


def test_form_starts_with_the_fields_of_a_study(client: TestClient, engine: Engine) -> None:
    study_id = create_study(
        engine,
        name=HOSTILE,
        limits={"latency_ms": 12.5, "device": "pi5", "accuracy": 0.8},
        students=["resnet18", {"architecture": "resnet34", "image_size": 96}],
        screen_only=True,
        goal="most_accurate",
    )
    page = client.get(f"/ui/studies/{study_id}").text
    assert_clean(page)
    assert f'href="/ui/new-study?from={study_id}"' in page
    assert "ttm study submit --url http" in page
    html = client.get(f"/ui/new-study?from={study_id}").text
    assert_clean(html)
    for pointer, value in {
        "/limits/latency_ms": "12.5",
        "/limits/device": "pi5",
        "/training/epochs": "9",
        "/seeds": "2",
        "/students": "",
    }.items():
        assert re.search(rf'name="{pointer}"[^>]* value="{value}"', html), pointer
    assert '<option value="most_accurate" selected>' in html
    rest = html.partition("<textarea")[2].partition("</textarea>")[0]
    for text in ("accuracy", "resnet34", "image_size"):
        assert text in rest
    for text in ("latency_ms", "screen_only", "pi5"):
        assert text not in rest
    assert client.get("/ui/new-study?from=unknown").status_code == 404
    assert client.get("/ui/new-study").text.count("data-use checked") == 2


def test_jobs_that_do_not_train_show_no_student(client: TestClient, ended: str) -> None:
    jobs = client.get("/jobs", params={"study": ended, "limit": 200}).json()["items"]
    others = {job["kind"]: job["id"] for job in jobs if job["kind"] != "distill"}
    assert set(others) == {"screen", "teacher"}
    for kind, text in (("screen", "Measures the candidates"), ("teacher", "Stores the teacher")):
        html = client.get(f"/ui/jobs/{others[kind]}").text
        assert text in html
        assert "No metrics. This job does not train." in html
    rows = dict(re.findall(r'<tr id="job-([^"]+)"(.*?)</tr>', client.get("/ui/jobs?study=all").text, re.S))
    trained = next(job["id"] for job in jobs if job["kind"] == "distill")
    assert '<span class="student">' in rows[trained]
    for job_id in others.values():
        assert '<span class="student">cifar' not in rows[job_id]
        assert '<td data-column="method" data-label="Method"><div>\N{EN DASH}</div></td>' in rows[job_id]


def test_a_running_and_a_failed_study(client: TestClient, engine: Engine) -> None:
    study_id = create_study(engine, limits={"bytes": 1, "accuracy": 0.1})
    assert 'data-active="yes"' in client.get(f"/ui/studies/{study_id}").text
    advance(engine)
    end_jobs(engine, study_id)
    advance(engine)
    html = client.get(f"/ui/studies/{study_id}").text
    assert 'data-active="no"' in html
    assert "The nearest are cifar/resnet8 (int8): its size of 83,892 bytes is above the limit of 1 bytes" in html


def test_training_of_candidates_in_a_study_without_rungs(client: TestClient, engine: Engine) -> None:
    """They wait, are in training, and are stopped when the study is cancelled."""
    study_id = create_study(engine, students=["cifar/resnet8", "cifar/resnet20"], seeds=1, training={"epochs": 3})
    address = f"/ui/studies/{study_id}"
    advance(engine)
    while study_of(engine, study_id).stage != "finals":
        end_jobs(engine, study_id)
        advance(engine)

    def shown() -> list[str]:
        return sorted(re.findall('<td class="whole">(waiting|in training|stopped)</td>', client.get(address).text))

    assert shown() == ["waiting", "waiting"]
    job = next(job for job in jobs_of(engine, study_id) if job.state == "queued")
    with session_scope(engine) as session:
        assert leases.claim(session, job.id, "worker-1", duration=timedelta(minutes=1)) is not None
    assert shown() == ["in training", "waiting"]
    assert client.post(f"/studies/{study_id}/cancel").json()["state"] == "cancelled"
    assert shown() == ["stopped", "stopped"]


def test_an_unknown_study_is_not_found(client: TestClient) -> None:
    assert client.get("/ui/studies/01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10").status_code == 404
    assert client.get("/ui/studies/nothing").status_code == 404
    assert "No studies" in client.get("/ui/studies").text
