"""All artifacts as one zip file, and the report."""

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.artifacts.archive import Member, zip_stream
from tests.api.conftest import ON_SQLITE
from tests.api.test_bad_requests import assert_problem
from tests.support.runs import STUDENT_BYTES, claim, succeed
from ttm_jobs.database.engine import session_scope
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage

AT = datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)
PAGE = b"<!doctype html><style>p{}</style><p>a report"


@pytest.fixture
def job(client: TestClient, engine: Engine, storage: Storage, settings: Settings) -> str:
    """Path of a finished job with a report."""
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    job_id = client.post("/jobs", json=body).json()["id"]
    lease = claim(engine, job_id)
    with session_scope(engine) as session:
        files = []
        for name, content, kind in (
            ("report.json", b'{"version":1}', "application/json"),
            ("report.html", PAGE, "text/html; charset=utf-8"),
        ):
            key = f"jobs/{job_id}/1/{name}"
            stored = storage.put(key, [content])
            files.append(PublishedFile(name, key, kind, stored.size, stored.sha256))
        artifacts.record(session, leases.fence(session, lease), files)
    succeed(engine, storage, lease)
    return f"/jobs/{job_id}"


def test_zip_contains_every_artifact_uncompressed(client: TestClient, job: str) -> None:
    answer = client.get(f"{job}/artifacts.zip")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith('attachment; filename="resnet18-')
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.read("student.safetensors") == STUDENT_BYTES
        listed = [item["name"] for item in client.get(f"{job}/artifacts").json()["items"]]
        assert archive.namelist() == listed
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert client.get(f"{job}/artifacts.zip").content == answer.content
    assert client.head(f"{job}/artifacts.zip").content == b""


def test_zip_with_a_missing_object_is_refused_before_it_starts(client: TestClient, job: str, storage: Storage) -> None:
    storage.delete(next(key for key in storage.list("jobs") if key.endswith("report.html")))
    assert_problem(client.get(f"{job}/artifacts.zip"), 404, "object_not_found")


@pytest.mark.parametrize("path", ["artifacts.zip", "report", "report.html"])
@ON_SQLITE
def test_zip_and_report_require_a_finished_job(client: TestClient, settings: Settings, path: str) -> None:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    job_id = client.post("/jobs", json=body).json()["id"]
    assert_problem(client.get(f"/jobs/{job_id}/{path}"), 409, "job_not_finished")


def test_large_zip_is_streamed_as_zip64() -> None:
    """The archive exceeds the limits of plain zip. Its parts are counted, not kept."""
    chunk = bytes(2**24)

    def large() -> Iterator[bytes]:
        for _ in range(129):
            yield chunk

    size = 129 * len(chunk)
    total, largest, tail = 0, 0, b""
    for part in zip_stream([Member("large", size, AT, large), Member("small", 3, AT, lambda: iter([b"abc"]))]):
        total += len(part)
        largest = max(largest, len(part))
        tail = (tail + part)[-1000:]
    assert size < total < size + 1000
    assert largest < 2 * len(chunk)
    assert b"PK\x06\x06" in tail, "the end of a Zip64 directory"


def test_report_is_served_in_a_sandbox(client: TestClient, job: str) -> None:
    report = client.get(f"{job}/report")
    assert report.json() == {"version": 1}
    page = client.get(f"{job}/report.html")
    assert page.content == PAGE
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "content-disposition" not in page.headers
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline';")
    assert policy.endswith("sandbox")
    assert "script-src" not in policy
    etag = page.headers["etag"]
    assert client.get(f"{job}/report.html", headers={"if-none-match": etag}).status_code == 304
    kept = client.get(f"{job}/artifacts/report.html")
    assert kept.headers["content-disposition"] == 'attachment; filename="report.html"'
    assert kept.headers["etag"] == etag
