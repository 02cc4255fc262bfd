"""Validation of students that are made of their teachers."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient


@pytest.fixture
def data(shared_folder: Path) -> str:
    return (shared_folder / "data").as_uri()


def body(data: str, teacher: str | None, **student: Any) -> dict[str, Any]:
    """A job whose teacher is a file in the folder of the data."""
    file = Path(data.removeprefix("file://")) / "teacher.pt"
    file.touch()
    return {"teacher": {"checkpoint": file.as_uri(), "architecture": teacher}, "student": student, "dataset": data}


def test_folder_is_no_checkpoint(shared_client: TestClient, data: str) -> None:
    for wrong, pointer in (
        ({"teacher": data, "student": "resnet18"}, "/teacher/checkpoint"),
        ({"method": "ce", "student": {"architecture": "resnet18", "checkpoint": data}}, "/student/checkpoint"),
    ):
        problem = shared_client.post("/jobs", json={**wrong, "dataset": data}).json()
        assert [(error["pointer"], error["detail"]) for error in problem["errors"]] == [
            (pointer, "The URI is that of a folder. A checkpoint is one file.")
        ]


def test_images_that_are_too_small_for_the_architecture_are_refused(shared_client: TestClient, data: str) -> None:
    small = {"architecture": "vit_tiny_patch16_224", "image_size": 8}
    for path in ("/jobs", "/jobs/validate"):
        problem = shared_client.post(path, json={"method": "ce", "student": small, "dataset": data})
        assert (problem.status_code, problem.json()["code"]) == (422, "images_too_small")
        assert [error["pointer"] for error in problem.json()["errors"]] == ["/student/image_size"]
        assert "Use 16 or more" in problem.json()["detail"]
    study = {"teacher": {"checkpoint": data, **small}, "students": [small], "dataset": data, "limits": {"macs": 1e6}}
    problem = shared_client.post("/studies/validate", json=study)
    pointers = {error["pointer"] for error in problem.json()["errors"]}
    assert {"/teacher/image_size", "/students/0/image_size"} <= pointers
    fits = {"method": "ce", "student": {**small, "image_size": 16}, "dataset": data}
    assert shared_client.post("/jobs/validate", json=fits).status_code == 200


def test_teacher_that_cannot_be_pruned_is_refused(shared_client: TestClient, data: str) -> None:
    for path in ("/jobs", "/jobs/validate"):
        problem = shared_client.post(path, json=body(data, "fastvit_t8", prune={"macs": 0.5}))
        assert (problem.status_code, problem.json()["code"]) == (422, "not_prunable")
        assert [error["pointer"] for error in problem.json()["errors"]] == ["/student/prune"]
        assert "fastvit_t8" in problem.json()["detail"]


def test_published_teacher_that_cannot_be_pruned_is_refused(shared_client: TestClient, data: str) -> None:
    wrong = {"teacher": "timm:fastvit_t8.apple_in1k", "student": {"prune": {"macs": 0.5}}, "dataset": data}
    assert shared_client.post("/jobs/validate", json=wrong).json()["code"] == "not_prunable"


@pytest.mark.parametrize(
    ("prune", "parameters", "macs"),
    [
        ({"macs": 0.5}, None, 907_036_672),
        ({"parameters": 0.25}, 2_922_378, None),
        ({"latency_ms": 5}, None, None),
        ({"latency_ms": 5, "macs": 0.5}, None, 907_036_672),
    ],
)
def test_dry_run_shows_the_target(
    shared_client: TestClient, data: str, prune: dict[str, float], parameters: int | None, macs: int | None
) -> None:
    result = shared_client.post("/jobs/validate", json=body(data, "resnet18", prune=prune)).json()
    assert result["student"] == {
        "architecture": "resnet18",
        "parameters": parameters,
        "macs": macs,
        "input_size": [3, 224, 224],
    }


def test_student_of_an_unknown_teacher_has_no_size_yet(shared_client: TestClient, data: str) -> None:
    result = shared_client.post("/jobs/validate", json=body(data, None, prune={"macs": 0.5})).json()
    assert result["student"] is None
    for prune, target in (({"macs": 0.5}, "50 % of its MACs"), ({"latency_ms": 2.5}, "2.5 ms")):
        job = shared_client.post("/jobs", json=body(data, None, prune=prune)).json()
        assert job["student"] == f"teacher pruned to {target}"
        assert job["student_structure"] is None


def test_architectures_say_whether_they_can_be_pruned(shared_client: TestClient) -> None:
    found = {
        name: shared_client.get(f"/architectures/{name}").json()["prunable"] for name in ("resnet50", "fastvit_t8")
    }
    assert found == {"resnet50": True, "fastvit_t8": False}


def test_inherited_weights_require_one_family(shared_client: TestClient, data: str) -> None:
    wrong = body(data, "resnet50", architecture="mobilenetv3_small_100", initialize="teacher")
    problem = shared_client.post("/jobs", json=wrong)
    assert (problem.status_code, problem.json()["code"]) == (422, "other_family")
    assert [error["pointer"] for error in problem.json()["errors"]] == ["/student/initialize"]
    assert "family resnet" in problem.json()["detail"]
    for teacher, student in (("resnet34", "resnet18"), ("cifar/resnet56", "mini/resnet8_100"), (None, "resnet18")):
        right = body(data, teacher, architecture=student, initialize="teacher")
        assert shared_client.post("/jobs/validate", json=right).status_code == 200


@pytest.mark.parametrize(
    ("student", "pointer"),
    [
        ("timm:../resnet18", "/student/checkpoint"),
        ("timm:no_such_model", "/student/checkpoint"),
        ("timm:resnet18.no_such_tag", "/student/checkpoint"),
        ("hf:../../etc", "/student/checkpoint"),
        ("hf:someone/..", "/student/checkpoint"),
        ("hf:someone/pets@../main", "/student/checkpoint"),
        ("hf:someone%2f..%2fpets", "/student/checkpoint"),
        ("hf:som\u043ene/pets", "/student/checkpoint"),
        ("hf:" + "x" * 2000 + "/pets", "/student/checkpoint"),
        ("timm:resnet18.a1_in1k/../../x", "/student/checkpoint"),
        ("timm:%72esnet18", "/student/checkpoint"),
        ("ftp://example.org/x", "/student/checkpoint"),
        ("job:01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10", "/student/checkpoint"),
        ({"checkpoint": "hf:someone/pets", "architecture": "resnet188"}, "/student/architecture"),
    ],
)
def test_invalid_weights_are_refused(shared_client: TestClient, data: str, student: Any, pointer: str) -> None:
    problem = shared_client.post("/jobs", json={"student": student, "dataset": data, "method": "ce"})
    assert problem.status_code == 422
    assert [error["pointer"] for error in problem.json()["errors"]] == [pointer]


def test_published_weights_are_accepted(shared_client: TestClient, data: str) -> None:
    for student, size in (("timm:resnet18.a1_in1k", 11_689_512), ("hf:someone/pets@v1.0", None)):
        request = {"student": student, "dataset": data, "method": "ce"}
        shown = shared_client.post("/jobs/validate", json=request).json()["student"]
        assert (shown and shown["parameters"]) == size
        job = shared_client.post("/jobs", json=request).json()
        assert (job["student"], job["spec"]["student"]["checkpoint"]) == (student, student)


def test_dataset_is_no_model(shared_client: TestClient) -> None:
    for uri in ("hf:someone/pets", "timm:resnet18.a1_in1k"):
        problem = shared_client.post("/jobs", json={"student": "resnet18", "dataset": uri, "method": "ce"})
        assert (problem.status_code, problem.json()["code"]) == (422, "uri_not_allowed")
