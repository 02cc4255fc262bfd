"""The X-Request-ID header."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.api.conftest import ON_SQLITE
from tests.api.test_access import bearer, make_key
from tests.support.factories import queued
from tests.support.openapi import operations


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


@ON_SQLITE
def test_every_response_and_log_line_has_the_request_id(
    client: TestClient, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = queued(engine)
    key = bearer(make_key(engine))
    seen: set[int] = set()
    for number, (method, path) in enumerate(operations()):
        if path.endswith("/events"):
            continue  # an endless stream
        others = dict.fromkeys(
            (
                "upload_id",
                "key_id",
                "webhook_id",
                "study_id",
                "request_id",
                "device",
                "name",
                "version",
                "filename",
                "delivery_id",
                "page",
                "project",
            ),
            "1",
        )
        others["number"] = "0"
        url = path.format(job_id=job_id, **others)
        for headers in ({}, key, {**key, "If-None-Match": "*"}):
            request_id = f"test-{number}-{len(headers)}"
            capsys.readouterr()
            answer = client.request(method, url, headers={**headers, "X-Request-ID": request_id})
            seen.add(answer.status_code)
            assert answer.headers["x-request-id"] == request_id, (method, path)
            logged = lines(capsys)
            assert logged, (method, path)
            assert {line["request_id"] for line in logged} == {request_id}
            assert logged[-1]["status"] == answer.status_code
            if answer.headers.get("content-type") == "application/problem+json" and method != "head":
                assert answer.json()["request_id"] == request_id
    assert {200, 304, 401, 404, 409, 412, 422} <= seen


def test_request_without_an_id_gets_one(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    ids = {client.get("/healthz").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert {line["request_id"] for line in lines(capsys)} == ids


@ON_SQLITE
def test_request_line_names_address_and_key(
    client: TestClient, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = make_key(engine)
    key_id = client.get("/keys", headers=bearer(secret)).json()["items"][0]["id"]
    assert client.get("/jobs", headers=bearer("ttm_wrong")).status_code == 401
    accepted, refused = [line for line in lines(capsys) if line["event"] == "request"]
    assert (accepted["address"], accepted["key_id"]) == ("testclient", key_id)
    assert refused["address"] == "testclient"
    assert "key_id" not in refused
