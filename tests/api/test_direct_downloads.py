"""Downloads from the object store through presigned URLs."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.app import create_app
from tests.api.conftest import make_settings
from tests.api.test_bad_requests import assert_problem
from tests.support.flaky_proxy import FlakyProxy
from tests.support.runs import STUDENT_BYTES, claim, succeed
from tests.support.s3_server import S3Server
from ttm_core.spec.events import Artifact
from ttm_jobs.database.engine import create_engine
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage, build_storage
from worker.run.publish import publish_artifacts

SIZE = len(STUDENT_BYTES)


@pytest.fixture
def public(s3_server: S3Server) -> Iterator[FlakyProxy]:
    """The object store at its public address."""
    with FlakyProxy(s3_server.url) as proxy:
        yield proxy


@pytest.fixture
def direct_settings(sqlite_url: str, tmp_path: Path, s3_server: S3Server, public: FlakyProxy) -> Settings:
    return make_settings(sqlite_url, tmp_path).model_copy(
        update={**s3_server.settings("/ttm"), "s3_public_endpoint": public.url, "direct_downloads": True}
    )


@pytest.fixture
def storage(direct_settings: Settings) -> Storage:
    return build_storage(direct_settings.storage_url, direct_settings.s3)


@pytest.fixture
def client(direct_settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(direct_settings), follow_redirects=False) as client:
        yield client


@pytest.fixture
def lease(client: TestClient, direct_settings: Settings, storage: Storage, tmp_path: Path) -> Lease:
    """The lease of a finished job with a student published as by a worker."""
    body = {"student": "resnet18", "dataset": direct_settings.data_roots[0].as_uri(), "method": "ce"}
    job_id = client.post("/jobs", json=body).json()["id"]
    engine: Engine = create_engine(direct_settings.database_url)
    lease = claim(engine, job_id)
    succeed(engine, storage, lease)
    engine.dispose()
    (tmp_path / "student").write_bytes(STUDENT_BYTES)
    sha256 = hashlib.sha256(STUDENT_BYTES).hexdigest()
    file = Artifact(
        name="student.safetensors", path="student", media_type="application/x-student", size=SIZE, sha256=sha256
    )
    publish_artifacts(storage, lease, tmp_path, [file])
    return lease


def test_download_redirects_to_a_presigned_url(
    client: TestClient, lease: Lease, public: FlakyProxy, direct_settings: Settings
) -> None:
    for path in (f"/jobs/{lease.job_id}/student", f"/jobs/{lease.job_id}/artifacts/student.safetensors"):
        answer = client.get(path)
        assert (answer.status_code, answer.content) == (307, b"")
        assert answer.headers["cache-control"] == "no-store"
        address = answer.headers["location"]
        assert address.startswith(f"{public.url}/")
        assert int(httpx2.QueryParams(urlsplit(address).query)["X-Amz-Expires"]) <= 900
        assert str(direct_settings.s3_secret_access_key) not in address
        file = httpx2.get(address)
        assert file.content == STUDENT_BYTES
        assert file.headers["content-type"] == "application/x-student"
        assert file.headers["content-disposition"] == f'attachment; filename="student-{lease.job_id}.safetensors"'
        part = httpx2.get(address, headers={"Range": "bytes=5-"})
        assert (part.status_code, part.content) == (206, STUDENT_BYTES[5:])


def test_service_answers_conditional_requests_itself(client: TestClient, lease: Lease, public: FlakyProxy) -> None:
    path = f"/jobs/{lease.job_id}/student"
    head = client.head(path)
    assert (head.status_code, head.headers["content-length"]) == (200, str(SIZE))
    assert client.get(path, headers={"If-None-Match": head.headers["etag"]}).status_code == 304
    assert_problem(client.get(path, headers={"Range": f"bytes={SIZE}-"}), 416, "range_not_satisfiable")
    # The store has its own ETags and cannot compare this one.
    resumed = client.get(path, headers={"Range": "bytes=9-", "If-Range": head.headers["etag"]})
    assert (resumed.status_code, resumed.content) == (206, STUDENT_BYTES[9:])
    undirected = client.get(path, params={"redirect": "false"})
    assert (undirected.status_code, undirected.content) == (200, STUDENT_BYTES)
    log = client.get(f"/jobs/{lease.job_id}/log")
    assert (log.status_code, log.content) == (200, b"step 1\n")
    archive = client.get(f"/jobs/{lease.job_id}/artifacts.zip")
    assert (archive.status_code, archive.headers["content-type"]) == (200, "application/octet-stream")
    assert public.connections == 0


def test_signed_link_redirects_without_a_key(client: TestClient, lease: Lease) -> None:
    link = client.post(f"/jobs/{lease.job_id}/artifacts/student.safetensors/link").json()["href"]
    assert httpx2.get(client.get(link).headers["location"]).content == STUDENT_BYTES
    assert client.get(f"{link}&redirect=false").content == STUDENT_BYTES


def test_missing_object_is_a_problem(client: TestClient, lease: Lease, storage: Storage) -> None:
    for key in list(storage.list("jobs")):
        storage.delete(key)
    assert_problem(client.get(f"/jobs/{lease.job_id}/student"), 404, "object_not_found")


def test_service_sends_the_bytes_if_the_storage_has_no_urls(sqlite_settings: Settings, tmp_path: Path) -> None:
    settings = sqlite_settings.model_copy(update={"direct_downloads": True})
    storage, engine = build_storage(settings.storage_url), create_engine(settings.database_url)
    with TestClient(create_app(settings), follow_redirects=False) as client:
        body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
        job_id = client.post("/jobs", json=body).json()["id"]
        succeed(engine, storage, claim(engine, job_id))
        answer = client.get(f"/jobs/{job_id}/student")
    engine.dispose()
    assert (answer.status_code, answer.content) == (200, STUDENT_BYTES)
