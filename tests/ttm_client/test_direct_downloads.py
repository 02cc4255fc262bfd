"""Direct downloads from the object store with the client and `ttm`."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from tests.api.conftest import make_settings
from tests.support.api_server import served
from tests.support.flaky_proxy import FlakyProxy
from tests.support.runs import STUDENT_BYTES, claim, succeed
from tests.support.s3_server import S3Server
from ttm_client import ChecksumMismatch, Client
from ttm_client.cli.main import app
from ttm_jobs.broker.embedded import free_port
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import Scope
from ttm_jobs.repositories.access import keys
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage, build_storage


@pytest.fixture
def settings(sqlite_url: str, tmp_path: Path, s3_server: S3Server) -> Settings:
    return make_settings(sqlite_url, tmp_path).model_copy(update={**s3_server.settings(), "direct_downloads": True})


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return build_storage(settings.storage_url, settings.s3)


class Service:
    """An API that redirects downloads to `public`, and one finished job."""

    def __init__(self, settings: Settings, engine: Engine, storage: Storage, public: str) -> None:
        self.settings = settings.model_copy(update={"s3_public_endpoint": public})
        self._engine = engine
        self._storage = storage

    def finished_job(self, client: Client) -> str:
        job = client.jobs.create(student="resnet18", dataset=self.settings.data_roots[0].as_uri(), method="ce")
        succeed(self._engine, self._storage, claim(self._engine, job.id))
        return job.id


def test_download_resumes_at_the_store_without_sending_the_key(
    settings: Settings, engine: Engine, storage: Storage, s3_server: S3Server, tmp_path: Path
) -> None:
    with FlakyProxy(s3_server.url, 500_000) as store:
        service = Service(settings, engine, storage, store.url)
        with session_scope(engine) as session:
            key = keys.create(session, project_id="default", name="test", scope=Scope.SUBMIT).secret
        with served(service.settings) as url, FlakyProxy(url) as front, Client(front.url, key) as client:
            job_id = service.finished_job(client)
            client.jobs.download_student(job_id, tmp_path / "student")
            assert (tmp_path / "student").read_bytes() == STUDENT_BYTES
            # 1.28 MB in pieces below 0.5 MB.
            assert 3 <= store.connections <= 5
            assert key.encode() in front.heard
            assert b"range: bytes=" in store.heard.lower()
            assert key.encode() not in store.heard
            assert b"authorization" not in store.heard.lower()
            log = client.jobs.artifacts(job_id)[1]
            client.jobs.download_artifact(job_id, log, tmp_path / "log")
            assert (tmp_path / "log").read_bytes() == b"step 1\n"


@pytest.mark.parametrize("away", ["unreachable", "broken connections", "error status"])
def test_unreachable_store_falls_back_to_the_service(
    settings: Settings, engine: Engine, storage: Storage, s3_server: S3Server, tmp_path: Path, away: str
) -> None:
    with FlakyProxy(s3_server.url, 0) as broken:
        public = {
            "unreachable": f"http://127.0.0.1:{free_port()}",
            "broken connections": broken.url,
            "error status": f"{s3_server.url}/moto-api/no-such-bucket",
        }[away]
        service = Service(settings, engine, storage, public)
        with served(service.settings) as url, Client(url) as client:
            job_id = service.finished_job(client)
            part = tmp_path / f".student.{hashlib.sha256(STUDENT_BYTES).hexdigest()[:16]}.part"
            part.write_bytes(STUDENT_BYTES[:1000])
            client.jobs.download_student(job_id, tmp_path / "student")
            assert (tmp_path / "student").read_bytes() == STUDENT_BYTES
            answer = CliRunner().invoke(
                app, ["download", job_id, "--url", url, "--output", str(tmp_path / "by-hand.safetensors")]
            )
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / "by-hand.safetensors").read_bytes() == STUDENT_BYTES


def test_wrong_bytes_from_the_store_are_detected(
    settings: Settings, engine: Engine, storage: Storage, s3_server: S3Server, tmp_path: Path
) -> None:
    service = Service(settings, engine, storage, s3_server.url)
    with served(service.settings) as url, Client(url) as client:
        job_id = service.finished_job(client)
        for key in list(storage.list("jobs")):
            storage.put(key, [bytes(len(STUDENT_BYTES))])
        with pytest.raises(ChecksumMismatch):
            client.jobs.download_student(job_id, tmp_path / "student")
    found: list[Any] = list(tmp_path.glob("*student*"))
    assert found == []
