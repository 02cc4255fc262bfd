"""Hostile URIs, headers and bodies at every operation that accepts them: each gets a problem document and changes nothing."""

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from tests.api.conftest import make_settings
from tests.security.corpus.requests import ADDRESSES, BODIES, ENTRIES, HEADERS, NOT_JSON, URIS
from tests.security.corpus.table import PATHS_WITH_HEADERS
from tests.support.api_server import served
from ttm_jobs.database.engine import session_scope
from ttm_jobs.repositories.measuring import requests
from ttm_jobs.settings import Settings


@pytest.fixture(scope="module")
def settings(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("requests")
    shutil.copy(sqlite_template, folder / "ttm.db")
    own = make_settings(f"sqlite:///{folder}/ttm.db", folder)
    return own.model_copy(update={"allowed_buckets": ("data",), "allowed_origins": ("https://data.example.org",)})


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        secret = client.post("/keys", json={"name": "corpus", "scope": "admin"}).json()["secret"]
        client.headers["Authorization"] = f"Bearer {secret}"
        yield client


@pytest.fixture(scope="module")
def resources(client: TestClient) -> dict[str, str]:
    """The ids of one resource for each path parameter."""
    job = client.post("/jobs", json={"student": "resnet18", "method": "ce", "dataset": "s3://data/"}).json()
    hook = client.post("/webhooks", json={"url": "https://hooks.example.org/"}).json()
    with session_scope(client.app.state.services.engine) as session:  # type: ignore[attr-defined]
        request = requests.request(session, device="pi5", key="k", sha256="0" * 64, size=1)
    upload = client.post("/uploads", content=b"no checkpoint").json()
    ids = {"job_id": job["id"], "webhook_id": hook["id"], "upload_id": upload["id"]}
    return {**ids, "request_id": request.id}


def list_all(client: TestClient) -> list[Any]:
    paths = ("/jobs", "/teachers", "/datasets", "/webhooks", "/uploads", "/devices")
    return [client.get(path).json()["items"] for path in paths]


@pytest.mark.parametrize("entry", ADDRESSES)
def test_addresses(client: TestClient, resources: dict[str, str], entry: str) -> None:
    before = list_all(client)
    path, body = ADDRESSES[entry]
    for uri in URIS:
        answer = client.post(path, json=body(uri))
        # A host name is resolved when the webhook is sent, so it is accepted here.
        if entry == "a webhook" and uri.startswith("https://") and answer.status_code == 201:
            assert uri.partition("://")[2].partition("/")[0].replace(".", "").isalpha(), uri
            client.delete(f"/webhooks/{answer.json()['id']}")
            continue
        assert answer.status_code == 422, (uri, answer.text)
        assert answer.json()["code"] in ("uri_not_allowed", "invalid_request", "input_not_found"), (uri, answer.text)
        assert "passwd" not in answer.json()["detail"]
    assert list_all(client) == before


def test_corpus_covers_every_operation_with_a_json_body(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    taking = {
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    assert taking == set(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES)
def test_bodies(client: TestClient, resources: dict[str, str], entry: str) -> None:
    method, path = ENTRIES[entry]
    before = list_all(client)
    for name, (content, headers) in BODIES.items():
        answer = client.request(
            method, path.format(**resources), content=content, headers={"Content-Type": "application/json", **headers}
        )
        if name in NOT_JSON:
            assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body"), (name, answer.text)
        # An empty change is valid, and so is a name with unusual characters.
        if method == "POST" and path == "/keys" and answer.status_code == 201:
            assert answer.json()["name"] == json.loads(content)["name"]
            continue
        if entry == "uploads_inspect" and answer.status_code == 200:
            assert content.strip() in (b"", b"{}"), name
            continue
        if method == "PATCH" and answer.status_code == 200:
            client.request(
                method, path.format(**resources), json={"name": None} if "jobs" in path else {"enabled": True}
            )
            continue
        assert 400 <= answer.status_code < 500, (name, answer.status_code, answer.text[:300])
        assert answer.headers["content-type"] == "application/problem+json", name
        assert answer.json()["request_id"]
    after = list_all(client)
    for one in (before[0], after[0]):
        for job in one:
            job.pop("name")
    assert after == before


@pytest.mark.parametrize("path", PATHS_WITH_HEADERS)
def test_headers(client: TestClient, settings: Settings, resources: dict[str, str], path: str) -> None:
    target = path.format(**resources)
    with served(settings) as url:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        for name, lines in HEADERS.items():
            host_line = b"" if lines.lower().startswith(b"host:") else b"Host: 127.0.0.1\r\n"
            key = b"" if b"uthorization" in lines else f"Authorization: {client.headers['Authorization']}\r\n".encode()
            head = b"GET %s HTTP/1.1\r\n%s%sConnection: close\r\n%s" % (target.encode(), host_line, key, lines)
            with socket.create_connection((host, port), timeout=600) as connection:
                answer = b""
                # The server may close the connection before it has read the whole request.
                with suppress(ConnectionError):
                    connection.sendall(head + b"\r\n\r\n")
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_WR)
                    while chunk := connection.recv(1 << 16):
                        answer += chunk
            # Closing the connection without a response counts as a rejection.
            status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 400
            assert status < 500, (name, answer[:500])
            assert b'"admin": "yes' not in answer.partition(b"\r\n\r\n")[0]
    assert json.loads(client.get("/healthz").content) == {"status": "ok"}
