"""Inspection of uploaded checkpoints, and what validation makes of it."""

import io
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from fastapi.testclient import TestClient
from onnx import NodeProto, helper, numpy_helper

from tests.api.test_bad_requests import assert_problem
from tests.support.models import create_model
from tests.support.onnx_files import linear_classifier
from ttm_core.errors import UserError
from ttm_core.models.teachers.onnx_teacher import load_onnx_teacher
from ttm_core.spec.job import TeacherSpec

Upload = Callable[[bytes], str]


def saved(state: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    """One app for all tests: it starts one reader per file and question."""
    return shared_client


@pytest.fixture
def upload(client: TestClient) -> Upload:
    """Uploads bytes and returns the id."""
    return lambda content: str(client.post("/uploads?filename=teacher.pt", content=content).json()["id"])


@pytest.fixture
def body(shared_folder: Path) -> dict[str, Any]:
    return {"student": "mini/resnet8_025", "dataset": (shared_folder / "data").as_uri()}


def resnet8() -> dict[str, Any]:
    torch.manual_seed(0)
    return create_model("mini/resnet8_025", num_classes=10).state_dict()


def test_a_killed_reader_says_nothing_about_the_upload(
    client: TestClient, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = upload(saved(resnet8()))
    popen = subprocess.Popen
    with monkeypatch.context() as patch:
        killed = ["/bin/sh", "-c", "read given; kill -9 $$"]
        patch.setattr("ttm_core.reader.process.subprocess.Popen", lambda _, **options: popen(killed, **options))
        answer = client.post(f"/uploads/{upload_id}/inspect")
        assert_problem(answer, 503, "reader_unavailable")
        assert answer.headers["retry-after"] == "5"
    assert client.post(f"/uploads/{upload_id}/inspect").json()["problem"] is None


def test_a_checkpoint_is_described(client: TestClient, upload: Upload) -> None:
    state = resnet8()
    found = client.post(f"/uploads/{upload(saved({'state_dict': state}))}/inspect").json()
    assert (found["kind"], found["problem"], found["layout"]) == ("torch", None, "state_dict")
    assert found["tensors"] == len(state)
    best = found["candidates"][0]
    assert (best["architecture"], best["loads"], best["num_classes"]) == ("mini/resnet8_025", True, 10)


def test_a_file_in_parts_and_a_safetensors_file_are_described(client: TestClient) -> None:
    content = safetensors.torch.save(resnet8())
    head = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    created = client.post("/uploads", headers={"Tus-Resumable": "1.0.0", "Upload-Length": str(len(content))})
    where = created.headers["location"]
    for start in range(0, len(content), 10_000):
        part = content[start : start + 10_000]
        assert client.patch(where, content=part, headers={**head, "Upload-Offset": str(start)}).status_code == 204
    deadline = time.monotonic() + 600
    while client.get(where).json()["state"] != "complete":
        assert time.monotonic() < deadline
    found = client.post(f"{where}/inspect").json()
    assert (found["kind"], found["candidates"][0]["loads"]) == ("safetensors", True)


def test_a_file_larger_than_the_copied_ends_is_described(
    client: TestClient, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.receiving.inspection._WHOLE_BYTES", 50_000)
    monkeypatch.setattr("api.receiving.inspection._HEAD_BYTES", 10_000)
    monkeypatch.setattr("api.receiving.inspection._TAIL_BYTES", 10_000)
    state = create_model("mini/resnet8_150", num_classes=10).state_dict()
    content = saved(state)
    assert len(content) > 100_000
    found = client.post(f"/uploads/{upload(content)}/inspect").json()
    assert found["candidates"][0]["architecture"] == "mini/resnet8_150"


def test_numbers_that_a_run_refuses_are_a_problem(client: TestClient, upload: Upload, body: dict[str, Any]) -> None:
    state = resnet8()
    state["fc.bias"][3] = float("nan")
    uri = f"upload:{upload(saved(state))}"
    teacher = {"checkpoint": uri, "architecture": "mini/resnet8_025"}
    answer = client.post("/jobs/validate", json={**body, "teacher": teacher})
    assert_problem(answer, 422, "unusable_checkpoint")
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/teacher/checkpoint"
    assert error["detail"] == "Tensor 'fc.bias' has NaN or infinite values."


def test_only_the_numbers_of_the_described_model_count(client: TestClient, upload: Upload) -> None:
    damaged = {name: tensor + float("inf") for name, tensor in resnet8().items()}
    path = f"/uploads/{upload(saved({'teacher': resnet8(), 'student': damaged}))}/inspect"
    assert client.post(path).json()["problem"] is None
    assert "infinite" in client.post(path, json={"checkpoint_key": "student"}).json()["problem"]


@pytest.mark.parametrize("content", [b"no checkpoint at all", saved({"x": torch.zeros(3)})[:200], b"\x80\x02junk" * 9])
def test_a_file_that_is_no_checkpoint_has_a_problem(client: TestClient, upload: Upload, content: bytes) -> None:
    answer = client.post(f"/uploads/{upload(content)}/inspect")
    assert answer.status_code == 200
    assert answer.json()["problem"]
    assert answer.json()["candidates"] == []


def test_uploads_of_other_projects_and_wrong_questions_are_refused(client: TestClient, upload: Upload) -> None:
    assert_problem(client.post("/uploads/01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10/inspect"), 404, "upload_not_found")
    path = f"/uploads/{upload(saved(resnet8()))}/inspect"
    assert_problem(client.post(path, json={"architectur": "resnet18"}), 422, "invalid_request")
    assert_problem(client.post(path, json={"key_map": {"a\u0000": "b"}}), 422, "invalid_request")
    assert_problem(client.post(path, content=b"{" * 3_000_000), 413, "too_large")


def test_a_key_map_is_tried_before_it_is_used(client: TestClient, upload: Upload) -> None:
    renamed = {name.replace("layer", "stage").replace("fc.", "last."): value for name, value in resnet8().items()}
    path = f"/uploads/{upload(saved(renamed))}/inspect"
    best = client.post(path, json={"architecture": "mini/resnet8_025"}).json()["candidates"][0]
    assert best["loads"]
    tried = client.post(path, json={"architecture": "mini/resnet8_025", "key_map": best["key_map"]}).json()
    assert tried["candidates"][0]["loads"]
    assert tried["candidates"][0]["key_map"] is None
    wrong = client.post(path, json={"architecture": "mini/resnet8_025", "key_map": {"nothing.": "fc."}}).json()
    assert "starts with 'nothing.'" in wrong["problem"]


def test_validation_accepts_a_teacher_that_fits(client: TestClient, upload: Upload, body: dict[str, Any]) -> None:
    teacher = {"checkpoint": f"upload:{upload(saved(resnet8()))}", "architecture": "mini/resnet8_025"}
    result = client.post("/jobs/validate", json={**body, "teacher": teacher}).json()
    assert result["checkpoints"][0]["candidates"][0]["loads"]


@pytest.mark.parametrize(
    ("fields", "pointer", "detail"),
    [
        ({}, "/teacher/architecture", "The tensors fit mini/resnet8_025."),
        ({"architecture": "resnet18"}, "/teacher/architecture", "The tensors fit mini/resnet8_025."),
        ({"architecture": "mini/resnet8_025", "num_classes": 7}, "/teacher/num_classes", "has 10 classes"),
        ({"architecture": "mini/resnet8_025", "key_map": {"x.": ""}}, "/teacher/key_map", "starts with 'x.'"),
    ],
)
def test_validation_names_the_field_and_the_way_out(
    client: TestClient, upload: Upload, body: dict[str, Any], fields: dict[str, Any], pointer: str, detail: str
) -> None:
    teacher = {"checkpoint": f"upload:{upload(saved(resnet8()))}", **fields}
    answer = client.post("/jobs/validate", json={**body, "teacher": teacher})
    assert_problem(answer, 422, "unusable_checkpoint")
    (error,) = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert detail in error["detail"]


def test_validation_accepts_a_vision_transformer_of_another_image_size(
    client: TestClient, upload: Upload, body: dict[str, Any]
) -> None:
    """Published for 160 pixels, fine-tuned at 64."""
    state = timm.create_model("test_vit", num_classes=5, img_size=64).state_dict()
    weights = {"checkpoint": f"upload:{upload(saved(state))}", "architecture": "test_vit"}
    for pointer, models in (
        ("/teacher/image_size", {"teacher": weights}),
        ("/student/image_size", {"student": weights, "method": "ce"}),
    ):
        answer = client.post("/jobs/validate", json={**body, **models})
        assert_problem(answer, 422, "unusable_checkpoint")
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
        (kind,) = models.keys() - {"method"}
        models[kind] = {**weights, "image_size": 64}
        assert client.post("/jobs/validate", json={**body, **models}).status_code == 200


def test_validation_refuses_a_binary_classifier_with_one_output(
    client: TestClient, upload: Upload, body: dict[str, Any]
) -> None:
    state = resnet8()
    binary = state | {name: state[name][:1].clone() for name in ("fc.weight", "fc.bias")}
    teacher = {"checkpoint": f"upload:{upload(saved(binary))}", "architecture": "mini/resnet8_025"}
    answer = client.post("/jobs/validate", json={**body, "teacher": teacher})
    assert_problem(answer, 422, "unusable_checkpoint")
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/teacher/checkpoint"
    assert "Give it two" in error["detail"]


def test_validation_refuses_a_file_that_is_no_checkpoint(
    client: TestClient, upload: Upload, body: dict[str, Any]
) -> None:
    teachers = [f"upload:{upload(b'some text')}", f"upload:{upload(saved(resnet8()))}"]
    answer = client.post("/jobs/validate", json={**body, "teachers": teachers})
    assert_problem(answer, 422, "unusable_checkpoint")
    pointers = [error["pointer"] for error in answer.json()["errors"]]
    assert pointers == ["/teachers/0/checkpoint", "/teachers/1/architecture"]


def test_the_reader_has_no_secrets_in_its_environment(
    client: TestClient, upload: Upload, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TTM_DATABASE_URL", "postgresql://user:swordfish@host/db")
    for name in ("AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "GOOGLE_SERVICE_ACCOUNT_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "swordfish")
    # A wrapper in place of Python writes down the environment that the reader gets.
    seen = tmp_path / "environment"
    wrapper = tmp_path / "python"
    wrapper.write_text(f"#!/bin/sh\nenv > {seen}\nexit 1\n")
    wrapper.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(wrapper))
    # The answers for the files of other tests may be known.
    client.post(f"/uploads/{upload(saved({'unknown': torch.ones(3)}))}/inspect")
    assert "swordfish" not in seen.read_text()
    assert "PYTHONPATH" in seen.read_text()


def test_validation_inspects_initial_weights_and_what_a_student_needs_of_its_teacher(
    client: TestClient, upload: Upload, body: dict[str, Any]
) -> None:
    onnx, text = f"upload:{upload(linear_classifier())}", f"upload:{upload(b'some text')}"
    weights = f"upload:{upload(saved(resnet8()))}"
    structure = {"format": 2, "structure": {"architecture": "cifar/ShuffleV2", "num_classes": 10}}
    shuffle = f"upload:{upload(safetensors.torch.save(resnet8(), {'ttm': json.dumps(structure)}))}"
    unit = {"checkpoint": onnx, "normalization": {"mean": [0] * 3, "std": [1] * 3}}
    name = "mini/resnet8_025"
    accessible = "layers of an ONNX teacher are not accessible"
    cases: list[tuple[str, Any, Any, str]] = [
        ("/student/checkpoint", None, {"checkpoint": text}, "not a checkpoint"),
        ("/student/checkpoint", None, {"checkpoint": onnx}, "cannot start with an ONNX file"),
        ("/student/architecture", None, {"checkpoint": weights}, f"The tensors fit {name}."),
        ("/student/architecture", None, {"checkpoint": weights, "architecture": "resnet18"}, f"tensors fit {name}."),
        (
            "/student/checkpoint_key",
            None,
            {"checkpoint": weights, "architecture": name, "checkpoint_key": "teacher"},
            "It has one model",
        ),
        ("/student/prune", unit, {"prune": {"macs": 0.5}}, accessible),
        ("/student/initialize", unit, {"architecture": "resnet18", "initialize": "teacher"}, accessible),
        ("/student/prune", shuffle, {"prune": {"macs": 0.5}}, "cifar/ShuffleV2 cannot be pruned"),
        ("/teacher/output", {"checkpoint": weights, "architecture": name, "output": "logits"}, name, "for ONNX files"),
        ("/teacher/checkpoint_key", {**unit, "checkpoint_key": "ema"}, name, "remove this field"),
    ]
    for pointer, teacher, student, detail in cases:
        method = "ce" if teacher is None else "wttm"
        answer = client.post(
            "/jobs/validate", json={**body, "student": student, "teacher": teacher, "method": method}
        ).json()
        assert detail in {error["pointer"]: error["detail"] for error in answer["errors"]}.get(pointer, ""), answer
    right = {"checkpoint": weights, "architecture": name}
    assert client.post("/jobs/validate", json={**body, "student": right, "method": "ce"}).status_code == 200


def test_onnx_teachers_are_described_and_checked(client: TestClient, upload: Upload, body: dict[str, Any]) -> None:
    uri = f"upload:{upload(linear_classifier(softmax=True))}"
    found = client.post(f"/uploads/{uri.removeprefix('upload:')}/inspect").json()
    assert (found["kind"], found["onnx"]["probabilities"], found["onnx"]["num_classes"]) == ("onnx", True, 10)
    assert found["onnx"]["run_size"] == 8
    teacher = {"checkpoint": uri, "normalization": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    assert client.post("/jobs/validate", json={**body, "teacher": teacher}).status_code == 200
    answer = client.post("/jobs/validate", json={**body, "teacher": {"checkpoint": uri, "num_classes": 3}})
    assert_problem(answer, 422, "unusable_checkpoint")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/teacher/normalization", "/teacher/num_classes"]
    method = {"kind": "wttm", "features": {"kind": "crd"}}
    answer = client.post("/jobs/validate", json={**body, "teacher": teacher, "method": method})
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/method"]


def _zeros(number: int) -> list[NodeProto]:
    """An output of so many zeros."""
    shape = helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.int64([number])))
    zeros = helper.make_node("ConstantOfShape", ["shape"], ["zeros"])
    total = helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0)
    return [shape, zeros, total, helper.make_node("Add", ["z", "sum"], ["y"])]


_ONNX_CASES: list[tuple[bytes, dict[str, Any], str, str]] = [
    (linear_classifier(helper.make_node("Log", ["z"], ["y"])), {}, "checkpoint", "returns NaN or infinite values"),
    (linear_classifier(helper.make_node("Flatten", ["z"], ["y"], axis=0)), {}, "checkpoint", "not [batch, classes]"),
    (linear_classifier(*_zeros(10**10)), {}, "checkpoint", "TTM_READER_MEMORY_BYTES"),
    (linear_classifier(shape=[None, 3, 16, 16]), {}, "checkpoint", "on images of 16 pixels"),
    (linear_classifier(shape=[None, 3, None, None]), {"image_size": 16}, "checkpoint", "on images of 16 pixels"),
    (linear_classifier(), {"image_size": 16}, "image_size", "takes 8 pixels"),
    (linear_classifier(), {"num_classes": 3}, "num_classes", "returns 10"),
    (linear_classifier(), {"class_map": [0, 10]}, "class_map", "index 10"),
    (linear_classifier(), {"normalization": {"mean": [0.0], "std": [1.0]}}, "normalization", "has 1 channels"),
]


@pytest.mark.parametrize(("content", "fields", "field", "detail"), _ONNX_CASES)
def test_validation_and_a_run_refuse_onnx_files_with_the_same_words(
    client: TestClient,
    upload: Upload,
    body: dict[str, Any],
    tmp_path: Path,
    content: bytes,
    fields: dict[str, Any],
    field: str,
    detail: str,
) -> None:
    teacher = {
        "checkpoint": f"upload:{upload(content)}",
        "normalization": {"mean": [0.5] * 3, "std": [0.5] * 3},
        **fields,
    }
    study = {"teacher": teacher, "dataset": body["dataset"], "limits": {"retention": 0.5}}
    for path, request in (("/jobs/validate", {**body, "teacher": teacher}), ("/studies/validate", study)):
        answer = client.post(path, json=request)
        assert_problem(answer, 422, "unusable_checkpoint")
        (error,) = answer.json()["errors"]
        assert error["pointer"] == f"/teacher/{field}"
        assert detail in error["detail"]
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_onnx_teacher(TeacherSpec.model_validate(teacher), tmp_path / "x.onnx", 8)
    assert caught.value.message == error["detail"]


def test_an_onnx_file_of_any_size_runs_at_the_size_of_the_request(client: TestClient, upload: Upload) -> None:
    path = f"/uploads/{upload(linear_classifier(shape=[None, 3, None, None]))}/inspect"
    assert client.post(path).json()["onnx"]["run_size"] is None
    assert client.post(path, json={"image_size": 8}).json()["onnx"]["run_size"] == 8
