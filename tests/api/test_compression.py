"""gzip of JSON responses, and what stays uncompressed."""

import gzip
import json

import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.http.headers.compression import accepts_gzip
from tests.api.conftest import ON_SQLITE
from tests.api.test_access import bearer, make_key
from tests.support.factories import queued
from tests.support.runs import claim, succeed
from ttm_jobs.storage import Storage

GZIP = {"Accept-Encoding": "gzip"}
IDENTITY = {"Accept-Encoding": "identity"}


def received(client: TestClient, path: str, headers: dict[str, str]) -> tuple[httpx2.Response, bytes]:
    """The response and the bytes that were sent."""
    with client.stream("GET", path, headers=headers) as response:
        return response, b"".join(response.iter_raw())


@ON_SQLITE
def test_lists_are_compressed_if_the_client_accepts_it(client: TestClient, engine: Engine) -> None:
    for number in range(20):
        queued(engine, name=f"run {number}")
    plain, body = received(client, "/jobs", IDENTITY)
    compressed, sent = received(client, "/jobs", GZIP)
    assert "content-encoding" not in plain.headers
    assert compressed.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(sent)) == json.loads(body)
    assert int(compressed.headers["content-length"]) == len(sent) < len(body) / 5
    assert plain.headers["vary"] == compressed.headers["vary"] == "Accept-Encoding"
    head = client.head("/jobs", headers=GZIP)
    assert (head.headers["content-encoding"], head.headers["content-length"]) == ("gzip", str(len(sent)))
    # The ETag of one encoding is current for the other.
    for etag in (plain.headers["etag"], compressed.headers["etag"]):
        unchanged = client.get("/jobs", headers={**GZIP, "If-None-Match": etag})
        assert (unchanged.status_code, unchanged.headers["vary"]) == (304, "Accept-Encoding")
        assert "content-encoding" not in unchanged.headers


@ON_SQLITE
def test_files_pages_and_small_responses_are_not_compressed(
    client: TestClient, engine: Engine, storage: Storage
) -> None:
    job_id = queued(engine)
    succeed(engine, storage, claim(engine, job_id))
    plain = client.get(f"/jobs/{job_id}/student", headers=IDENTITY)
    for path in (f"/jobs/{job_id}/student", f"/jobs/{job_id}/artifacts.zip", "/healthz", "/home", "/metrics"):
        response, _ = received(client, path, GZIP)
        assert "content-encoding" not in response.headers, path
    part = client.get(f"/jobs/{job_id}/student", headers={**GZIP, "Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, plain.content[:4])
    assert "vary" not in part.headers
    assert part.headers["etag"] == plain.headers["etag"]


@ON_SQLITE
def test_responses_with_secrets_are_not_compressed(client: TestClient, engine: Engine) -> None:
    admin = bearer(make_key(engine)) | GZIP
    created = client.post("/keys", json={"name": "laptop"}, headers=admin)
    hook = client.post(
        "/webhooks", json={"url": "https://hooks.example.org/" + "a" * 1500, "description": "pager"}, headers=admin
    )
    assert created.json()["secret"]
    assert len(hook.content) > 1500
    assert "content-encoding" not in created.headers
    assert "content-encoding" not in hook.headers


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("identity, *;q=0", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("gzip;q=0.001", True),
        ("x-gzip-not", False),
        ("", False),
    ],
)
def test_quality_zero_refuses_gzip(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted
