"""The OpenAPI document is complete and current, and its examples are valid."""

import json
import re
from typing import Any

import pytest
import safetensors.torch
import torch
from fastapi.testclient import TestClient

from api.http.problems import error_codes
from api.jobs.parameters import EXAMPLES
from tests.support.factories import queued
from tests.support.models import create_model
from tests.support.openapi import SNAPSHOT, committed, document
from ttm_core.spec import catalogue
from ttm_core.spec.job import DistillSpec
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import Job
from ttm_jobs.repositories.measuring import requests
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.settings import Settings


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, op) for path, methods in committed()["paths"].items() for method, op in methods.items()]


def test_committed_document_is_current() -> None:
    current = json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
    assert SNAPSHOT.read_text(encoding="utf-8") == current, "run: python -m api.openapi > docs/reference/openapi.json"


@pytest.mark.parametrize(("path", "method", "operation"), operations())
def test_every_operation_is_described(path: str, method: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert len(operation["tags"]) == 1
    resource, _, verb = operation["operationId"].partition("_")
    assert resource.isalpha()
    assert verb.replace("_", "").isalpha()
    for status, answer in operation["responses"].items():
        assert answer["description"]
        refuses = status == "default" or int(status) >= 400
        if refuses and path != "/readyz":
            assert list(answer["content"]) == ["application/problem+json"], (method, path, status)


def test_operation_ids_are_unique_and_documented_paths_exist() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    assert {(method, path) for path, method, _ in operations()} >= {
        ("post", "/jobs"),
        ("get", "/jobs"),
        ("get", "/jobs/{job_id}"),
        ("get", "/jobs/{job_id}/metrics"),
        ("get", "/jobs/{job_id}/events"),
        ("post", "/jobs/{job_id}/cancel"),
        ("get", "/jobs/{job_id}/student"),
        ("get", "/jobs/{job_id}/artifacts"),
        ("post", "/uploads"),
        ("head", "/uploads/{upload_id}"),
        ("patch", "/uploads/{upload_id}"),
        ("post", "/webhooks"),
        ("get", "/architectures"),
        ("get", "/architectures/{name}"),
        ("get", "/recipes"),
        ("get", "/recipes/{name}"),
        ("get", "/healthz"),
        ("get", "/readyz"),
    }


def test_code_generators_can_express_every_operation() -> None:
    """openapi-python-client omits operations with other media types only, and responses whose model's name occurs twice."""
    expressed = {"application/json", "application/merge-patch+json", "application/octet-stream"}
    bodies = [operation["requestBody"]["content"] for _, _, operation in operations() if "requestBody" in operation]
    assert [list(content) for content in bodies if not expressed & content.keys()] == []
    titles = [schema["title"] for schema in document()["components"]["schemas"].values() if "title" in schema]
    assert sorted(titles) == sorted(set(titles))


def test_every_reference_resolves() -> None:
    text = json.dumps(document())
    names = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(document()["components"]["schemas"])
    assert not names & {"HTTPValidationError", "ValidationError"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_specs_of_known_architectures(name: str) -> None:
    spec = DistillSpec.model_validate(EXAMPLES[name]["value"])
    catalogue.find(spec.student.architecture)


def test_served_document_is_the_committed_one(sqlite_client: TestClient) -> None:
    assert sqlite_client.get("/openapi.json").json() == document()


def test_every_problem_code_is_documented() -> None:
    listed = document()["components"]["schemas"]["Problem"]["properties"]["code"]["x-extensible-enum"]
    named: set[str] = set()
    for _, _, operation in operations():
        for status, answer in operation["responses"].items():
            if status == "default" or int(status) >= 400:
                named |= set(re.findall(r"`([a-z_]+)`", answer["description"]))
    # Base classes of more specific errors.
    bases = {"not_found", "conflict", "invalid_input", "invalid_transition"}
    # Of no operation; refused by the schema before; of one job in a bulk request.
    other = {"no_such_route", "invalid_name", "too_many_tags"}
    sign_in = {"no_access", "provider_unavailable", "sign_in_refused", "too_many_failed_sign_ins"}
    assert set(listed) - named <= bases | other | sign_in
    assert set(listed) <= set(error_codes())


JSON = "application/json"


def examples() -> list[tuple[str, str, str, Any]]:
    """Method, path, name and value of every example body."""
    schemas = committed()["components"]["schemas"]
    found = []
    for path, method, operation in operations():
        body = operation.get("requestBody", {}).get("content", {}).get(JSON)
        if body is None:
            continue
        if "examples" in body:
            found += [(method, path, name, example["value"]) for name, example in body["examples"].items()]
        else:
            schema = schemas[body["schema"]["$ref"].rpartition("/")[2]]
            found.append((method, path, "", schema["example"]))
    return found


@pytest.fixture(scope="module")
def teacher() -> bytes:
    """A ResNet-50 with 37 classes, as the examples say, in eight bits."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in create_model("resnet50", num_classes=37).state_dict().items()}
    tensors = {name: torch.zeros(shape, dtype=torch.float8_e4m3fn) for name, shape in shapes.items()}
    return safetensors.torch.save(
        tensors, {"ttm": json.dumps({"format": 2, "structure": {"architecture": "resnet50", "num_classes": 37}})}
    )


@pytest.fixture
def sqlite_settings(sqlite_settings: Settings) -> Settings:
    return sqlite_settings.model_copy(update={"max_upload_bytes": 64 << 20})


@pytest.mark.parametrize(("method", "path", "name", "value"), examples())
def test_every_example_is_accepted(
    sqlite_client: TestClient,
    sqlite_settings: Settings,
    teacher: bytes,
    method: str,
    path: str,
    name: str,
    value: Any,
) -> None:
    upload = sqlite_client.post("/uploads", content=teacher).json()["uri"]
    folder = sqlite_settings.data_roots[0]
    # Examples name one upload and one folder.
    body = json.dumps(value).replace("file:///data/pets", folder.as_uri())
    body = re.sub(r"upload:[0-9a-f-]{36}", upload, body)
    job = {"student": "resnet18", "dataset": folder.as_uri(), "method": "ce"}
    made = {"job_id": ("/jobs", job), "webhook_id": ("/webhooks", {"url": "https://hooks.example.org/"})}
    for parameter, (collection, wanted) in made.items():
        if parameter in path:
            path = path.replace(f"{{{parameter}}}", sqlite_client.post(collection, json=wanted).json()["id"])
        path = path.replace("{upload_id}", upload.removeprefix("upload:")).replace("{page}/{name}", "jobs/failed")
        path = path.replace("{project}", "vision")
    if "measurements" in path or "devices" in path:
        path, body = measurable(sqlite_client, path, value)
    answer = sqlite_client.request(method, path, content=body, headers={"Content-Type": JSON})
    assert answer.status_code in (200, 201), answer.text


def measurable(client: TestClient, path: str, value: dict[str, Any]) -> tuple[str, str]:
    """The path and body with a job whose artifact, and a request whose file, have the hash of the example."""
    services = client.app.state.services  # type: ignore[attr-defined]
    job_id = queued(services.engine)
    file = PublishedFile("student-int8.onnx", "k", "application/octet-stream", 1, value.get("sha256", "0" * 64))
    with session_scope(services.engine) as session:
        artifacts.record(session, session.get_one(Job, job_id), [file])
        artifact = artifacts.get(session, job_id, file.name)
        request = requests.request_artifact(session, artifact, device="pi5", threads=value.get("threads"))
        path = re.sub(r"/jobs/[^/]+", f"/jobs/{job_id}", path).format(device="pi5", request_id=request.id)
    return path, json.dumps(value | ({"job_id": job_id} if "job_id" in value else {}))


def test_problem_codes_are_unique_and_explained() -> None:
    codes = error_codes()
    assert {"job_not_found", "unknown_architecture", "uri_not_allowed", "too_large", "internal_error"} <= set(codes)
    assert all(error.__doc__ for error in codes.values())
