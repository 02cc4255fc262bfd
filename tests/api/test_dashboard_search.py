"""The search of the command palette: by name and id, within the caller's project."""

from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.support.factories import create_job, queued
from tests.support.studies import create_study
from ttm_jobs.database.engine import session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.repositories import workers
from ttm_jobs.settings import Settings


def found(client: TestClient, text: str) -> list[tuple[str, str]]:
    """The text and the address of each result."""
    answer = client.get("/ui/search", params={"q": text})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()
    return [(each["text"], each["href"]) for each in results]


def test_studies_and_jobs_are_found_by_name_and_by_the_start_of_their_id(client: TestClient, engine: Engine) -> None:
    study_id, job_id = create_study(engine, name="Kiosk 100%"), queued(engine, name="kiosk, by hand")
    study, job = ("Kiosk 100%", f"/ui/studies/{study_id}"), ("kiosk, by hand", f"/ui/jobs/{job_id}")
    assert found(client, "kiosk") == [study, job]
    assert found(client, "100%") == [study]
    assert found(client, "10_%") == []
    assert found(client, study_id) == [study]
    assert found(client, job_id.upper()[:-1]) == [job]
    # Both were created within the same minute.
    assert found(client, job_id[:8]) == [study, job]
    assert found(client, "nothing of this name") == []


def test_models_and_workers_are_found_by_name(client: TestClient, engine: Engine, settings: Settings) -> None:
    teacher = {"name": "pets-teacher", "teacher": {"checkpoint": "hf:timm/resnet18.a1_in1k"}}
    client.post("/teachers", json=teacher).raise_for_status()
    dataset = {"name": "pets", "dataset": settings.data_roots[0].as_uri()}
    client.post("/datasets", json=dataset).raise_for_status()
    with session_scope(engine) as session:
        workers.register(session, "worker-1", kind="worker", hostname="pets-gpu", pid=1, devices=[], job_id=None)
    results = found(client, "PETS")
    assert results == [
        ("pets-teacher", "/ui/teachers?q=pets-teacher"),
        ("pets", "/ui/datasets?q=pets"),
        ("pets-gpu worker-1", "/ui/workers#worker-worker-1"),
    ]
    assert ("cifar/resnet20", "/ui/architectures?q=cifar%2Fresnet20") in found(client, "cifar/resnet20")
    page = client.get("/ui/datasets?q=pet").text
    assert "dataset:pets" in page
    assert "No datasets match this search." in client.get("/ui/datasets?q=other").text
    assert 'id="worker-worker-1"' in client.get("/ui/workers").text


def test_other_projects_are_not_searched(client: TestClient, engine: Engine) -> None:
    other = bound_to(engine, "other")
    study_id = create_study(other, name="secret")
    with session_scope(other) as session:
        job_id = create_job(session, name="secret").id
    for text in ("secret", study_id, job_id):
        assert found(client, text) == []


def test_invalid_searches_are_refused(shared_client: TestClient) -> None:
    for text in ("", "x" * 201, "a\x00"):
        assert shared_client.get("/ui/search", params={"q": text}).status_code == 422
