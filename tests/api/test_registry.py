"""Registry entries: named and versioned teachers and datasets."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.api.test_bad_requests import assert_problem, pointers
from tests.support.runs import claim, fail
from ttm_jobs.database.engine import read_scope
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.settings import Settings


@pytest.fixture
def pets(client: TestClient, settings: Settings) -> str:
    """The URI behind the registry entry `pets`."""
    folder = settings.data_roots[0] / "pets"
    folder.mkdir()
    name(client, "dataset", "pets", {"uri": folder.as_uri(), "validation": {"share": 0.2}})
    return folder.as_uri()


def name(client: TestClient, kind: str, name: str, spec: Any, **fields: Any) -> dict[str, Any]:
    answer = client.post(f"/{kind}s", json={"name": name, kind: spec, **fields})
    assert answer.status_code == 201, answer.text
    assert client.get(answer.headers["location"]).json() == answer.json()
    return dict(answer.json())


def submit(client: TestClient, **fields: Any) -> dict[str, Any]:
    answer = client.post("/jobs", json={"student": "resnet18", **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_versions_are_numbered_and_immutable(client: TestClient, settings: Settings, pets: str) -> None:
    first = client.get("/datasets/pets").json()
    assert first["version"] == 1
    assert first["uri"] == "dataset:pets@1"
    assert first["dataset"] == {"uri": pets, "validation": {"share": 0.2}}
    second = name(client, "dataset", "pets", pets, description="All of it.")
    assert (second["version"], second["dataset"]) == (2, {"uri": pets})
    assert client.get("/datasets/pets").json() == second
    assert client.get("/datasets/pets/versions/1").json() == first
    assert client.get("/datasets/pets/versions").json()["items"] == [second, first]
    name(client, "dataset", "birds", pets)
    assert [each["uri"] for each in client.get("/datasets").json()["items"]] == ["dataset:birds@1", "dataset:pets@2"]
    assert client.get("/teachers").json()["items"] == []


def test_job_records_its_resolved_references(client: TestClient, engine: Engine, settings: Settings, pets: str) -> None:
    name(client, "teacher", "big", {"checkpoint": "timm:resnet50.a1_in1k", "architecture": "resnet50"})
    job = submit(client, teacher={"checkpoint": "teacher:big", "num_classes": 37}, dataset="dataset:pets")
    assert job["resolved_references"] == {"teacher": "teacher:big@1", "dataset": "dataset:pets@1"}
    assert job["links"]["teacher"] == "/teachers/big/versions/1"
    assert client.get(job["links"]["dataset"]).json()["version"] == 1
    spec = job["spec"]
    assert (spec["teacher"]["checkpoint"], spec["teacher"]["architecture"]) == ("timm:resnet50.a1_in1k", "resnet50")
    assert spec["teacher"]["num_classes"] == 37
    assert (spec["dataset"]["uri"], spec["dataset"]["validation"]["share"]) == (pets, 0.2)
    # New and deleted versions do not change the job.
    name(client, "teacher", "big", "timm:resnet101.a1_in1k")
    assert client.delete("/teachers/big/versions/1").status_code == 204
    assert client.get(f"/jobs/{job['id']}").json()["spec"] == spec
    assert (
        submit(client, teacher="teacher:big", dataset="dataset:pets")["resolved_references"]["teacher"]
        == "teacher:big@2"
    )
    fail(engine, claim(engine, job["id"]))
    again = client.post(f"/jobs/{job['id']}/retry").json()
    assert (again["resolved_references"], again["spec"]) == (job["resolved_references"], spec)
    with read_scope(engine) as session:
        assert "teacher:big" not in str(crud.get(session, again["id"]).spec), "workers see resolved URIs only"


def test_fields_of_the_job_override_the_registry_entry(client: TestClient, pets: str) -> None:
    own = submit(client, method="ce", dataset={"uri": "dataset:pets@1", "validation": {"share": 0.5}})
    assert own["spec"]["dataset"]["validation"]["share"] == 0.5
    several = submit(
        client,
        method="kd",
        teachers=["timm:resnet50.a1_in1k", {"checkpoint": "timm:resnet101.a1_in1k", "weight": 2}],
        dataset="dataset:pets",
    )
    assert several["resolved_references"] == {"dataset": "dataset:pets@1"}
    name(client, "teacher", "big", {"checkpoint": "timm:resnet50.a1_in1k", "weight": 3})
    named = submit(client, method="kd", teachers=["teacher:big", "timm:resnet101.a1_in1k"], dataset="dataset:pets")
    assert named["resolved_references"]["teachers/0"] == "teacher:big@1"
    assert [each["weight"] for each in named["spec"]["teachers"]] == [3, 1]
    recipe = submit(
        client, recipe="cifar100/resnet56-resnet20/wttm", student="cifar/resnet20", teacher="teacher:big", dataset=pets
    )
    assert recipe["spec"]["teacher"]["checkpoint"] == "timm:resnet50.a1_in1k"
    assert recipe["spec"]["training"]["epochs"] > 100


def test_jobs_are_filtered_by_registry_entry(client: TestClient, settings: Settings, pets: str) -> None:
    job = submit(client, method="ce", dataset="dataset:pets")
    submit(client, method="ce", dataset=settings.data_roots[0].as_uri())
    for given in ("dataset:pets", "dataset:pets@1", pets):
        found = client.get("/jobs", params={"dataset": given}).json()["items"]
        assert [each["id"] for each in found] == [job["id"]], given
    assert client.get("/jobs", params={"dataset": "dataset:pets@2"}).json()["items"] == []


def test_dry_run_resolves_references(client: TestClient, pets: str) -> None:
    tried = client.post(
        "/jobs/validate", json={"student": "resnet18", "method": "ce", "dataset": "dataset:pets"}
    ).json()
    assert tried["resolved_references"] == {"dataset": "dataset:pets@1"}
    assert tried["spec"]["dataset"]["uri"] == pets


def test_number_of_a_deleted_version_is_not_reused(client: TestClient, pets: str) -> None:
    assert client.delete("/datasets/pets/versions/1").status_code == 204
    for path in ("/datasets/pets", "/datasets/pets/versions/1", "/datasets/pets/versions"):
        assert_problem(client.get(path), 404, "dataset_not_found")
    assert_problem(client.delete("/datasets/pets/versions/1"), 404, "dataset_not_found")
    assert client.get("/datasets").json()["items"] == []
    assert name(client, "dataset", "pets", pets)["version"] == 2


def test_unknown_references_are_refused(client: TestClient, pets: str) -> None:
    wrong = {"student": "resnet18", "teacher": "teacher:none", "dataset": "dataset:pets@7"}
    problem = assert_problem(client.post("/jobs", json=wrong), 422, "input_not_found")
    assert pointers(problem) == ["/teacher/checkpoint", "/dataset/uri"]
    # Wrong kinds and malformed references.
    for teacher in ("dataset:pets", "teacher:", "teacher:A", "teacher:a@0", "teacher:a@x", "teacher:a@1@2"):
        refusal = client.post("/jobs", json={**wrong, "teacher": teacher, "dataset": pets})
        assert_problem(refusal, 422, "uri_not_allowed")


def test_registry_entries_are_validated_like_job_fields(client: TestClient, tmp_path: Path, pets: str) -> None:
    for spec in ("ftp://x/y", "file:///etc/passwd", "dataset:pets", "https://127.0.0.1/x"):
        problem = assert_problem(client.post("/datasets", json={"name": "x", "dataset": spec}), 422, "uri_not_allowed")
        assert pointers(problem) == ["/dataset/uri"]
    for wrong in ("", "A", "a b", "-a", "a" * 101, "a@1", "a:b"):
        refusal = client.post("/datasets", json={"name": wrong, "dataset": pets})
        assert pointers(assert_problem(refusal, 422, "invalid_request")) == ["/name"]
    unknown = client.post("/datasets", json={"name": "x", "dataset": {"uri": pets, "color": 1}})
    assert pointers(assert_problem(unknown, 422, "invalid_request")) == ["/dataset/color"]
    # The merged spec is validated as well.
    name(client, "teacher", "cnn", {"checkpoint": "timm:resnet50.a1_in1k", "architecture": "resnet50"})
    body = {"student": "deit_tiny_patch16_224", "method": "vitkd", "teacher": "teacher:cnn", "dataset": pets}
    assert_problem(client.post("/jobs", json=body), 422, "invalid_request")


def test_pages_continue_after_the_cursor(client: TestClient, pets: str) -> None:
    for number in range(5):
        name(client, "dataset", f"set-{number}", pets)
        name(client, "dataset", "many", pets)

    def walk(path: str) -> list[str]:
        seen: list[str] = []
        cursor = None
        while True:
            page = client.get(path, params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
            seen += [each["uri"] for each in page["items"]]
            cursor = page["next_cursor"]
            if not page["has_more"]:
                return seen

    assert walk("/datasets") == ["dataset:many@5", "dataset:pets@1", *(f"dataset:set-{n}@1" for n in range(5))]
    assert walk("/datasets/many/versions") == [f"dataset:many@{n}" for n in (5, 4, 3, 2, 1)]


def test_concurrent_versions_get_distinct_numbers(client: TestClient, pets: str) -> None:
    body = {"name": "busy", "dataset": pets}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/datasets", json=body), range(16)))
    assert sorted(answer.json()["version"] for answer in answers) == list(range(1, 17))


def test_repeated_request_creates_one_version(client: TestClient, pets: str) -> None:
    headers = {"Idempotency-Key": "once"}
    first, second = (client.post("/datasets", json={"name": "x", "dataset": pets}, headers=headers) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"
