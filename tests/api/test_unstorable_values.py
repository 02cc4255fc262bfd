"""Values that PostgreSQL cannot store, in every parameter and field of every operation and page: none causes status 500."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Header, Query
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.http.pagination import encode_cursor
from api.routes import routes
from tests.api.test_bad_requests import UNKNOWN_ID, assert_problem
from tests.security.corpus.requests import ENTRIES
from tests.support.factories import queued
from tests.support.openapi import committed

ROUTES = [
    route
    for part in routes(sign_in=True, traced=False)
    for route in part.original_router.routes  # type: ignore[attr-defined]
    if isinstance(route, APIRoute)
]
# The list of each path with a cursor.
LISTS = {
    "/jobs": "jobs",
    "/studies": "studies",
    "/uploads": "uploads",
    "/teachers": "teachers",
    "/teachers/{name}/versions": "teacher versions",
    "/datasets": "datasets",
    "/datasets/{name}/versions": "dataset versions",
    "/queue/jobs": "queue",
    "/audit": "audit",
    "/teacher-stores": "teacher stores",
    "/webhooks/{webhook_id}/deliveries": "deliveries",
    "/architectures": "architectures",
    "/recipes": "recipes",
    "/jobs/{job_id}/damage/images": "damage images",
}
POSITIONS: list[Any] = [
    *(["\0"], ["\ud800"], ["a\0b", "a\0b"], [0, "\0"], [0, 0, "\ud800"]),
    *([2**70], [-(2**70)], [2**40], [0], [1.5], [True], [None], [[]], [{}], ["x" * 100], [float("inf")]),
    *([2**70, UNKNOWN_ID], [2**55, UNKNOWN_ID], [-(2**62), UNKNOWN_ID], [0, 2**70, UNKNOWN_ID], [1.5, 0, UNKNOWN_ID]),
    *([0, "\ud800" * 40], [0, "\uff11" * 40], {}, "\0", 2**70),
]


@pytest.fixture
def resources(client: TestClient, engine: Engine) -> dict[str, str]:
    """A value for each path parameter: the id of an existing resource, where the test needs no study or request."""
    hook = client.post("/webhooks", json={"url": "https://hooks.example.org/"}).json()
    upload = client.post("/uploads", content=b"x").json()
    for kind, field in (("teacher", "checkpoint"), ("dataset", "uri")):
        body = {"name": "pets", kind: {field: f"upload:{upload['id']}"}}
        assert client.post(f"/{kind}s", json=body).status_code == 201
    job_id = queued(engine)
    # The event stream of a job that has not ended does not end either.
    assert client.post(f"/jobs/{job_id}/cancel").status_code == 200
    ids = {"job_id": job_id, "webhook_id": hook["id"], "upload_id": upload["id"]}
    return {**ids, "name": "pets", "page": "jobs", "project": "default", "device": "pi5", "version": "1", "number": "0"}


def filled(path: str, values: dict[str, str]) -> str:
    """The path with its parameters."""
    for name in parameters_of(path):
        path = path.replace(f"{{{name}}}", values.get(name, UNKNOWN_ID)).replace(
            f"{{{name}:path}}", values.get(name, "")
        )
    return path


def parameters_of(path: str) -> list[str]:
    return [part.strip("{}").partition(":")[0] for part in path.split("/") if part.startswith("{")]


def declared(route: APIRoute, kind: type[Query] | type[Header]) -> list[str]:
    """The names of the route's parameters of a kind."""
    return [each.alias for each in get_flat_params(route.dependant) if isinstance(each.field_info, kind)]


def requests() -> Iterator[tuple[str, APIRoute]]:
    for route in ROUTES:
        for method in sorted(route.methods):
            yield method, route


def test_in_paths(client: TestClient, resources: dict[str, str]) -> None:
    sent = 0
    for method, route in requests():
        for name in parameters_of(route.path):
            for text in ("a%00b", "%ed%a0%80"):
                answer = client.request(method, filled(route.path, {**resources, name: text}), json={"query": ""})
                assert answer.status_code < 500, (method, route.path, answer.text)
                sent += 1
    assert sent > 100


def test_in_queries_and_headers(client: TestClient, resources: dict[str, str]) -> None:
    sent = 0
    for method, route in requests():
        path = filled(route.path, resources)
        for parameter in declared(route, Query):
            answer = client.request(method, f"{path}?{parameter}=a%00b", json={}, follow_redirects=False)
            assert answer.status_code < 500, (method, route.path, parameter, answer.text)
            sent += 1
        for header in declared(route, Header):
            answer = client.request(method, path, headers={header: b"a\xff"}, json={}, follow_redirects=False)
            assert answer.status_code < 500, (method, route.path, header, answer.text)
    assert sent >= 80


def test_in_filters_of_pages(client: TestClient) -> None:
    for name in ("name", "tag", "teacher", "dataset", "owner"):
        answer = client.get(f"/ui/jobs?{name}=%00")
        assert (answer.status_code, answer.headers["content-type"]) == (422, "text/html; charset=utf-8")
        assert f"<code>{name}</code>" in answer.text


def test_every_list_is_known() -> None:
    paths = {route.path for route in ROUTES if "cursor" in declared(route, Query)}
    assert {path for path in paths if not path.startswith("/ui")} == set(LISTS)


def test_in_cursors(client: TestClient, resources: dict[str, str]) -> None:
    for (path, kind), position in product(LISTS.items(), POSITIONS):
        cursor = encode_cursor(kind, position)
        page = {"/queue/jobs": "/ui/queue", "/teacher-stores": "/ui/stores"}.get(path, f"/ui{path}")
        answer = client.get(filled(path, resources), params={"cursor": cursor})
        # Some are valid positions, such as a time in another century.
        if answer.status_code not in (200, 409):
            assert_problem(answer, 422, "invalid_cursor")
        assert client.get(page, params={"cursor": cursor}).status_code in (200, 404, 422), position


def test_in_bodies(client: TestClient, resources: dict[str, str]) -> None:
    document = committed()
    operations = {each["operationId"]: each for methods in document["paths"].values() for each in methods.values()}
    sent = 0
    for name, (method, path) in ENTRIES.items():
        content = operations[name]["requestBody"]["content"]["application/json"]
        for example in examples(document, content):
            for text in ("a\0b", "\ud800"):
                for body in replaced(example, text):
                    answer = client.request(
                        method,
                        path.format(**resources, request_id=UNKNOWN_ID),
                        content=json.dumps(body),
                        headers={"Content-Type": "application/json"},
                    )
                    assert answer.status_code < 500, (name, body, answer.text)
                    sent += 1
    assert sent > 100


def examples(document: dict[str, Any], content: dict[str, Any]) -> list[Any]:
    """The examples of a body."""
    schema = content["schema"]
    reference = schema.get("$ref", "").rpartition("/")[2]
    schema = document["components"]["schemas"][reference] if reference else schema
    found = [each["value"] for each in content.get("examples", {}).values()]
    return found or [schema["example"]] if "example" in schema else found


def replaced(value: Any, text: str) -> Iterator[Any]:
    """The value with each of its strings replaced, one at a time."""
    match value:
        case str():
            yield text
        case dict():
            for name, part in value.items():
                for changed in replaced(part, text):
                    yield {**value, name: changed}
        case list():
            for index, part in enumerate(value):
                for changed in replaced(part, text):
                    yield [*value[:index], changed, *value[index + 1 :]]


def test_file_names_with_control_characters_are_recorded(client: TestClient) -> None:
    answer = client.put(f"/uploads/{quote('a' + chr(0) + 'b.bin')}", content=b"x")
    assert (answer.status_code, answer.json()["filename"]) == (201, "ab.bin")
    (entry,) = client.get("/audit", params={"action": "uploads_put_named"}).json()["items"]
    assert entry["object"] == "a\ufffdb.bin"
