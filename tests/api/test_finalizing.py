"""Resumable uploads whose bytes arrive at several API processes on one database and one storage."""

import hashlib
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine

from tests.api.conftest import make_settings
from tests.support.api_server import api_process
from tests.support.s3_server import S3Server
from tests.support.tiny import wait_until
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import create_engine, read_scope, session_scope
from ttm_jobs.models import Upload
from ttm_jobs.repositories import uploads
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage, build_storage

CONTENT = bytes(range(251)) * 30_001
SHA256 = hashlib.sha256(CONTENT).hexdigest()
THIRD = len(CONTENT) // 3
TUS = {"Tus-Resumable": "1.0.0"}


def begin(url: str) -> str:
    answer = httpx2.post(f"{url}/uploads", headers={**TUS, "Upload-Length": str(len(CONTENT))})
    return str(answer.headers["location"])


def send(url: str, path: str, start: int, end: int) -> None:
    kind = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(start)}
    answer = httpx2.patch(url + path, headers={**TUS, **kind}, content=CONTENT[start:end], timeout=60)
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(end))


def described(url: str, path: str) -> dict[str, Any]:
    answer = httpx2.get(url + path)
    assert answer.status_code == 200, answer.text
    fields: dict[str, Any] = answer.json()
    return fields


def content_of(settings: Settings, storage: Storage, path: str) -> bytes:
    engine = create_engine(settings.database_url)
    with read_scope(engine) as session:
        keys = uploads.object_keys(session, uploads.get(session, path.rpartition("/")[2]))
    engine.dispose()
    return b"".join(chunk for key in keys for chunk in storage.open(key))


@dataclass(frozen=True)
class Service:
    """Two API processes on one database and one storage, shared by the tests that kill neither."""

    settings: Settings
    storage: Storage
    first: str
    second: str


def environment(settings: Settings) -> dict[str, str]:
    values = {name: getattr(settings, name) for name in type(settings).model_fields if name.startswith("s3_")}
    return {f"TTM_{name.upper()}": str(value) for name, value in values.items() if value is not None}


@pytest.fixture(scope="module", params=["file", "s3"])
def service(
    request: pytest.FixtureRequest, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """On a local folder and on an S3 server."""
    folder = tmp_path_factory.mktemp("service")
    shutil.copy(sqlite_template, folder / "ttm.db")
    settings = make_settings(f"sqlite:///{folder}/ttm.db", folder)
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        settings = settings.model_copy(update=server.settings())
    with ExitStack() as stack:
        first, second = (stack.enter_context(api_process(settings, environment(settings)))[0] for _ in range(2))
        yield Service(settings, build_storage(settings.storage_url, settings.s3), first, second)


def test_the_last_byte_completes_an_upload_of_one_process(service: Service) -> None:
    url, before = service.first, set(service.storage.list())
    path = begin(url)
    for start, end in ((0, THIRD), (THIRD, 2 * THIRD), (2 * THIRD, len(CONTENT))):
        send(url, path, start, end)
    upload = described(url, path)
    assert (upload["state"], upload["sha256"]) == ("complete", SHA256)
    assert_stored_once(service, path, before)


def test_two_processes_receive_one_upload(service: Service) -> None:
    first, second, before = service.first, service.second, set(service.storage.list())
    path = begin(first)
    send(first, path, 0, THIRD)
    send(second, path, THIRD, 2 * THIRD)
    send(first, path, 2 * THIRD, len(CONTENT))
    assert described(second, path)["state"] in ("finalizing", "complete")
    wait_until(lambda: described(second, path)["state"] == "complete")
    upload = described(first, path)
    assert (upload["sha256"], upload["size"]) == (SHA256, len(CONTENT))
    listed = httpx2.get(f"{first}/uploads").json()["items"]
    assert [each for each in listed if each["id"] == upload["id"]] == [upload]
    assert_stored_once(service, path, before)


def assert_stored_once(service: Service, path: str, before: set[str]) -> None:
    """The keys that are not among `before` hold the content, and no byte twice."""
    assert content_of(service.settings, service.storage, path) == CONTENT
    new = set(service.storage.list()) - before
    assert sum(map(service.storage.size, new)) == len(CONTENT), "no byte is stored twice"


def claimed_until(engine: Engine, path: str) -> datetime | None:
    with read_scope(engine) as session:
        return session.get_one(Upload, path.rpartition("/")[2]).finalizing_until


def claim_for(engine: Engine, path: str, duration: timedelta) -> None:
    with session_scope(engine) as session:
        session.get_one(Upload, path.rpartition("/")[2]).finalizing_until = now(session) + duration


def test_another_process_finalizes_after_the_first_was_killed(database_url: str, tmp_path: Path) -> None:
    settings = make_settings(database_url, tmp_path)
    engine = create_engine(database_url)
    folder = Path(settings.storage_url.removeprefix("file:"))
    with api_process(settings) as (url, _):
        path = begin(url)
        send(url, path, 0, THIRD)
    [part] = (file for file in folder.rglob("*") if file.is_file())
    aside = tmp_path / "part"
    part.replace(aside)
    # A reader of the part waits until the process is killed.
    os.mkfifo(part)
    with api_process(settings) as (url, pid):
        send(url, path, THIRD, len(CONTENT))
        wait_until(lambda: claimed_until(engine, path) is not None)
        job = {"student": "resnet18", "method": "ce", "dataset": f"upload:{path.rpartition('/')[2]}"}
        assert (described(url, path)["state"], described(url, path)["sha256"]) == ("finalizing", None)
        refused = httpx2.post(f"{url}/jobs", json=job)
        assert (refused.status_code, refused.json()["code"]) == (409, "upload_not_complete")
        assert httpx2.head(url + path, headers=TUS).headers["upload-offset"] == str(len(CONTENT))
        os.kill(pid, signal.SIGKILL)
    part.unlink()
    aside.replace(part)
    # How long the claim is valid does not depend on how fast a process starts here.
    claim_for(engine, path, timedelta(hours=1))
    with api_process(settings) as (url, _):
        assert described(url, path)["state"] == "finalizing", "the claim has not expired"
        claim_for(engine, path, timedelta(0))
        wait_until(lambda: described(url, path)["state"] == "complete")
        assert described(url, path)["sha256"] == SHA256
        assert httpx2.post(f"{url}/jobs", json=job).status_code == 201
    engine.dispose()


def test_an_upload_that_is_deleted_while_it_is_finalized(service: Service) -> None:
    first, second, before = service.first, service.second, set(service.storage.list())
    path = begin(first)
    send(first, path, 0, THIRD)
    send(second, path, THIRD, len(CONTENT))
    assert httpx2.delete(second + path).status_code == 204
    assert httpx2.get(first + path).status_code == 404
    assert set(service.storage.list()) == before
    assert httpx2.get(f"{second}/healthz").status_code == 200
