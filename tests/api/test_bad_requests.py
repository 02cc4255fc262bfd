"""Every invalid request gets a problem response and changes nothing."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.http.pagination import decode_cursor, encode_cursor
from api.http.problems import FieldErrors
from tests.support.measuring import measured
from tests.support.openapi import NAMED_UPLOAD
from ttm_jobs.database.ids import new_id

Body = dict[str, Any]
# The id of nothing. Constant, because test parameters must be equal in every xdist worker.
UNKNOWN_ID = "01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"


def body(data: Path, **more: Any) -> Body:
    return {"student": "resnet18", "dataset": data.as_uri(), "method": "ce", **more}


def assert_problem(answer: Any, status: int, code: str) -> Body:
    """Asserts that a response is a complete problem document and returns it."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: Body = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["type"] == f"/docs#{code}"
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem


def pointers(problem: Body) -> list[str]:
    return [error["pointer"] for error in problem["errors"]]


@pytest.fixture
def data(shared_client: TestClient, shared_folder: Path) -> Path:
    return shared_folder / "data"


@pytest.fixture(autouse=True)
def nothing_changed(shared_client: TestClient) -> Any:
    yield
    assert shared_client.get("/jobs").json()["items"] == []


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"color": "blue"}, "/color"),
        ({"training": {"epoch": 3}}, "/training/epoch"),
        ({"training": {"epochs": 0}}, "/training/epochs"),
        ({"training": {"epochs": "many"}}, "/training/epochs"),
        ({"training": {"seed": 2**63}}, "/training/seed"),
        ({"training": {"optimizer": {"name": "sgd", "learning_rate": -1}}}, "/training/optimizer/learning_rate"),
        ({"training": {"optimizer": "spiral"}}, "/training/optimizer"),
        ({"method": {"kind": "wttm", "beta": -1}}, "/method/beta"),
        ({"method": {"kind": "wttm", "bet": 1}}, "/method/bet"),
        ({"method": {"kind": "guess"}}, "/method/kind"),
        ({"method": {"beta": 1}}, "/method/kind"),
        ({"training": {"optimizer": {"kind": "sgd"}}}, "/training/optimizer/name"),
        ({"method": "kd"}, ""),
        ({"student": {"architecture": "resnet18", "image_size": 4}}, "/student/image_size"),
        ({"student": 7}, "/student"),
        ({"student": {}}, "/student"),
        ({"student": {"prune": {"macs": 1}}}, "/student/prune/macs"),
        ({"student": {"prune": {"parameters": 0}}}, "/student/prune/parameters"),
        ({"student": {"prune": {"latency_ms": 0}}}, "/student/prune/latency_ms"),
        ({"student": {"prune": {"latency_ms": 5, "device": "pi5"}}}, "/student/prune/device"),
        ({"student": {"prune": {"latency_ms": 5, "parameters": 0.5}}}, "/student/prune"),
        ({"student": ""}, "/student"),
        ({"dataset": None}, "/dataset"),
        ({"dataset": {"uri": "file:///d", "validation": {"share": 2}}}, "/dataset/validation/share"),
        ({"name": "x" * 201}, "/name"),
        ({"name": "nul\x00"}, "/name"),
        ({"name": "\x1b[31mred"}, "/name"),
        ({"teacher": {"checkpoint": "file:///a/b~c"}, "student": {"a/b~c": 1}}, "/student/a~1b~0c"),
    ],
)
def test_problem_points_at_the_invalid_field(shared_client: TestClient, data: Path, fields: Body, pointer: str) -> None:
    problem = assert_problem(shared_client.post("/jobs", json=body(data, **fields)), 422, "invalid_request")
    assert pointer in pointers(problem)


def test_problem_lists_all_invalid_fields(shared_client: TestClient, data: Path) -> None:
    wrong = body(data, student="resnet188", teacher="ftp://x", dataset=f"upload:{new_id()}")
    problem = assert_problem(shared_client.post("/jobs", json=wrong), 422, "unknown_architecture")
    assert pointers(problem) == ["/student/architecture", "/dataset/uri", "/teacher/checkpoint"]


@pytest.mark.parametrize(
    ("field", "name", "nearest"),
    [
        ("student", "resnet188", "resnet18"),
        ("student", "RESNET-50", "resnet50"),
        ("teacher", "mobilnetv2_100", "mobilenetv2_100"),
    ],
)
def test_unknown_architecture_suggests_the_nearest_name(
    shared_client: TestClient, data: Path, field: str, name: str, nearest: str
) -> None:
    upload = shared_client.post("/uploads", content=b"x").json()["uri"]
    given = {"checkpoint": upload, "architecture": name} if field == "teacher" else {"architecture": name}
    problem = assert_problem(
        shared_client.post("/jobs", json=body(data, **{field: given})), 422, "unknown_architecture"
    )
    assert pointers(problem) == [f"/{field}/architecture"]
    assert f"Did you mean '{nearest}'" in problem["detail"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "invalid_request"),
        (b"{", 400, "malformed_body"),
        (b'{"name": "\xff\xfe"}', 400, "malformed_body"),
        (b"[" * 200_000, 400, "malformed_body"),
        (b'{"a":' * 100_000, 400, "malformed_body"),
        ("{}".encode("utf-16"), 400, "malformed_body"),
        ("{}".encode("utf-32-be"), 400, "malformed_body"),
        (b"\xef\xbb\xbf{}", 400, "malformed_body"),
        (b'{"student": "resnet18", "dataset": "file:///d", "student": "resnet50"}', 400, "malformed_body"),
        (b'{"student": "resnet18", "dataset": {"uri": "file:///d", "uri": "file:///e"}}', 400, "malformed_body"),
        (b"null", 422, "invalid_request"),
        (b"[]", 422, "invalid_request"),
        (b'"three strings"', 422, "invalid_request"),
        (b'{"student": "resnet18", "dataset": "file:///d", "name": "\\ud800"}', 422, "invalid_request"),
        (
            b'{"student": "resnet18", "dataset": "file:///d", "method": {"kind": "wttm", "beta": NaN}}',
            422,
            "invalid_request",
        ),
        (
            b'{"student": "resnet18", "dataset": "file:///d", "method": {"kind": "wttm", "gamma": 1e999}}',
            422,
            "invalid_request",
        ),
        (
            b'{"student": "resnet18", "dataset": "file:///d", "training": {"seed": ' + b"9" * 5000 + b"}}",
            400,
            "malformed_body",
        ),
        (b" " * (2 << 20), 413, "too_large"),
    ],
)
def test_invalid_bodies_are_refused(shared_client: TestClient, content: bytes, status: int, code: str) -> None:
    answer = shared_client.post("/jobs", content=content, headers={"content-type": "application/json"})
    assert_problem(answer, status, code)


def test_body_without_a_length_is_limited(shared_client: TestClient) -> None:
    chunks = (b" " * 65536 for _ in range(64))
    answer = shared_client.post("/jobs", content=chunks, headers={"content-type": "application/json"})
    assert_problem(answer, 413, "too_large")


def test_wrong_media_type_is_refused(shared_client: TestClient, data: Path) -> None:
    answer = shared_client.post(
        "/jobs", content=json.dumps(body(data)), headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/jobs?limit=0", "/limit"),
        ("/jobs?limit=201", "/limit"),
        ("/jobs?limit=ten", "/limit"),
        ("/jobs?state=asleep", "/state/0"),
        ("/architectures?limit=-1", "/limit"),
        ("/architectures?q=" + "x" * 200, "/q"),
        (f"/jobs/{UNKNOWN_ID}/metrics?after_step=9223372036854775808", "/after_step"),
    ],
)
def test_query_parameters_are_validated(shared_client: TestClient, path: str, pointer: str) -> None:
    problem = assert_problem(shared_client.get(path), 422, "invalid_request")
    assert pointers(problem) == [pointer]
    assert problem["errors"][0]["in"] == "query"


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "====",
        "é",
        "AAAAAAAAAAAA",
        "%00",
        encode_cursor("architectures", ["resnet18"]),
        encode_cursor("recipes", ["cifar100/resnet56-resnet20/wttm"]),
        encode_cursor("jobs", [0, UNKNOWN_ID])[:-1] + "!",
        encode_cursor("jobs", [0, "nul\x00"]),
        encode_cursor("jobs", [10**30, UNKNOWN_ID]),
        encode_cursor("jobs", [UNKNOWN_ID, 0]),
        encode_cursor("jobs", [0]),
        encode_cursor("jobs", []),
    ],
)
def test_forged_cursors_are_refused(shared_client: TestClient, cursor: str) -> None:
    problem = assert_problem(shared_client.get("/jobs", params={"cursor": cursor}), 422, "invalid_cursor")
    assert pointers(problem) == ["/cursor"]


@given(st.binary(max_size=60), st.integers(0, 59), st.integers(1, 255))
def test_modified_cursors_are_refused(position: bytes, at: int, flip: int) -> None:
    cursor = bytearray(encode_cursor("jobs", [position.hex()]).encode())
    at %= len(cursor)
    cursor[at] ^= flip
    try:
        changed = decode_cursor("jobs", bytes(cursor).decode("latin-1"), list)
    except FieldErrors:
        return
    # The last base64 character has unused bits.
    assert changed == [position.hex()]
    assert at == len(cursor) - 1


@pytest.mark.parametrize("job_id", ["x", "%00", "..%2Fuploads", UNKNOWN_ID, "'; DROP TABLE jobs"])
def test_unknown_ids_are_not_found_on_every_route(shared_client: TestClient, job_id: str) -> None:
    document = shared_client.get("/openapi.json").json()
    routes = [
        (method, path)
        for path, operations in document["paths"].items()
        for method in operations
        if ("{job_id}" in path or "{upload_id}" in path) and (method, path) != NAMED_UPLOAD
    ]
    assert len(routes) >= 12
    for method, path in routes:
        filled = path.replace("{job_id}", job_id).replace("{upload_id}", job_id)
        filled = filled.replace("{name}", "student.safetensors").replace("{number}", "0")
        body: Body = {"json": {"name": "x"}} if method == "patch" and "uploads" not in path else {}
        if method == "post" and path.endswith("/measurements"):
            body = {"json": {"artifact": "student.onnx", "device": "pi5", **asdict(measured("0" * 64))}}
        headers = {"Tus-Resumable": "1.0.0", **({"Content-Type": "image/png"} if path.endswith("/predict") else {})}
        answer = shared_client.request(method, filled, headers=headers, **body)
        assert answer.status_code == 404, (method, path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


def test_unknown_routes_and_methods_are_refused(shared_client: TestClient) -> None:
    assert_problem(shared_client.get("/nowhere"), 404, "no_such_route")
    assert_problem(shared_client.get("/jobs/"), 404, "no_such_route")
    answer = shared_client.delete("/jobs")
    assert_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_cross_origin_requests_are_refused(shared_client: TestClient) -> None:
    answer = shared_client.post("/uploads", content=b"x", headers={"origin": "https://evil.example"})
    assert_problem(answer, 403, "cross_origin")
    assert shared_client.post("/uploads", content=b"x", headers={"origin": "http://testserver"}).status_code == 201


def test_valid_request_ids_are_kept_and_others_replaced(shared_client: TestClient) -> None:
    assert shared_client.get("/healthz", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    for hostile in ("a b", "x" * 100, '"}{'):
        assert shared_client.get("/healthz", headers={"x-request-id": hostile}).headers["x-request-id"] != hostile


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("name", "teacher", "student", "dataset", "method", "training", "x"), ANY_JSON)
    )
)
def test_any_invalid_body_is_a_problem(shared_client: TestClient, spec: Body) -> None:
    content = json.dumps(spec).encode()
    answer = shared_client.post("/jobs", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 409, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_unexpected_error_is_a_problem_without_its_message(
    shared_client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("api.architectures.service.page", broken)
    problem = assert_problem(shared_client.get("/architectures"), 500, "internal_error")
    assert "hunter2" not in json.dumps(problem)
    log = capsys.readouterr().out
    assert "hunter2" in log
    assert problem["request_id"] in log
