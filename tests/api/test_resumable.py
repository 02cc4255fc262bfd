"""Uploads in parts, by the protocol and with its own client."""

import base64
import hashlib
import io
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from tests.api.conftest import make_settings
from tests.api.test_bad_requests import assert_problem
from tests.api.test_uploads import CONTENT, wait_for
from tests.support.api_server import api_process
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import create_engine, read_scope, session_scope
from ttm_jobs.models import Upload, UploadPart
from ttm_jobs.repositories import uploads
from ttm_jobs.repositories.access import projects
from ttm_jobs.repositories.cleanup import objects
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage, build_storage
from worker.dispatcher.collector import Collector

VERSION = {"Tus-Resumable": "1.0.0"}


def begin(client: TestClient, length: int = 10, **headers: str) -> str:
    answer = client.post("/uploads", headers={**VERSION, "Upload-Length": str(length), **headers})
    assert (answer.status_code, answer.content) == (201, b""), answer.text
    return str(answer.headers["location"])


def send(client: TestClient, path: str, offset: int, content: bytes, **headers: str) -> Any:
    kind = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
    return client.patch(path, headers={**VERSION, **kind, **headers}, content=content)


def checksum_header(algorithm: str, content: bytes) -> dict[str, str]:
    digest = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
    return {"Upload-Checksum": f"{algorithm} {digest}"}


def offset(client: TestClient, path: str) -> int:
    answer = client.head(path, headers=VERSION)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["tus-resumable"] == "1.0.0"
    return int(answer.headers["upload-offset"])


def parts_of(storage: Storage) -> list[str]:
    return list(storage.list("upload-parts"))


def content_of(engine: Engine, storage: Storage, upload_id: str) -> bytes:
    with read_scope(engine) as session:
        keys = uploads.object_keys(session, uploads.get(session, upload_id))
    return b"".join(chunk for key in keys for chunk in storage.open(key))


def test_the_protocols_own_client_uploads_in_chunks(
    live: str, client: TestClient, engine: Engine, storage: Storage
) -> None:
    uploader = TusClient(f"{live}/uploads").uploader(
        file_stream=io.BytesIO(CONTENT), chunk_size=1_000_003, metadata={"filename": "../größe.pt"}
    )
    uploader.upload()
    upload = client.get(urlsplit(uploader.url).path).json()
    assert upload["size"] == len(CONTENT)
    assert upload["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert upload["filename"] == "größe.pt"
    assert content_of(engine, storage, upload["id"]) == CONTENT
    assert [storage.size(key) for key in parts_of(storage)] == [1_000_003] * 3 + [len(CONTENT) - 3_000_009]
    assert client.get("/uploads").json()["items"] == [upload]


def test_the_client_resumes_where_the_connection_broke(
    live: str, client: TestClient, settings: Settings, storage: Storage, engine: Engine
) -> None:
    uploader = TusClient(f"{live}/uploads").uploader(file_stream=io.BytesIO(CONTENT), chunk_size=1 << 20)
    uploader.upload_chunk()
    url = urlsplit(uploader.url)
    # A body that promises more than it brings.
    with socket.create_connection((url.hostname, url.port)) as connection:
        head = (
            f"PATCH {url.path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {1 << 20}\r\n"
            f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(CONTENT) - (1 << 20)}\r\n\r\n"
        )
        connection.sendall(head.encode() + CONTENT[1 << 20 : (1 << 20) + 700_000])
    wait_for(lambda: offset(client, url.path) == (1 << 20) + 700_000)
    resumed = TusClient(f"{live}/uploads").uploader(
        file_stream=io.BytesIO(CONTENT), url=uploader.url, chunk_size=1 << 20
    )
    assert resumed.get_offset() == (1 << 20) + 700_000, "what arrived before the break is kept"
    resumed.upload()
    upload = client.get(url.path).json()
    assert upload["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert content_of(engine, storage, upload["id"]) == CONTENT


def test_the_client_checks_each_chunk(live: str, client: TestClient) -> None:
    uploader = TusClient(f"{live}/uploads").uploader(
        file_stream=io.BytesIO(CONTENT), chunk_size=1 << 20, upload_checksum=True
    )
    uploader.upload()
    assert client.get(urlsplit(uploader.url).path).json()["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_the_client_is_told_why_it_is_refused(live: str, settings: Settings) -> None:
    content = io.BytesIO(bytes(settings.max_upload_bytes + 1))
    with pytest.raises(TusCommunicationError) as refusal:
        TusClient(f"{live}/uploads").uploader(file_stream=content, chunk_size=1 << 20).upload()
    assert refusal.value.status_code == 413


def test_abilities_are_told(client: TestClient, settings: Settings) -> None:
    for path in ("/uploads", begin(client)):
        answer = client.options(path)
        assert answer.status_code == 204
        assert answer.headers["tus-version"] == "1.0.0"
        assert answer.headers["tus-max-size"] == str(settings.max_upload_bytes)
        assert set(answer.headers["tus-checksum-algorithm"].split(",")) == {"sha1", "sha256"}
        extensions = {"creation", "creation-with-upload", "expiration", "checksum", "termination"}
        assert set(answer.headers["tus-extension"].split(",")) == extensions


def test_bytes_that_do_not_begin_where_it_ends_are_refused(client: TestClient, storage: Storage) -> None:
    path = begin(client)
    assert send(client, path, 0, b"abcd").headers["upload-offset"] == "4"
    for wrong in (0, 3, 5, 10**17):
        assert_problem(send(client, path, wrong, b"x"), 409, "upload_offset_wrong")
    for wrong in ("", "-1", "x", "4.0", "²", "9" * 19):
        answer = client.patch(
            path,
            headers=[
                (b"Tus-Resumable", b"1.0.0"),
                (b"Content-Type", b"application/offset+octet-stream"),
                (b"Upload-Offset", wrong.encode()),
            ],
            content=b"x",
        )
        assert_problem(answer, 422, "invalid_request")
    assert_problem(send(client, path, 4, b"1234567"), 413, "too_large")
    assert_problem(send(client, path, 4, iter([b"123", b"4567"])), 413, "too_large")  # type: ignore[arg-type]
    assert offset(client, path) == 4
    assert len(parts_of(storage)) == 1
    assert_problem(client.get(path), 404, "upload_not_found")
    assert send(client, path, 4, b"efghij").status_code == 204
    assert offset(client, path) == 10
    assert client.get(path).json()["size"] == 10
    assert_problem(send(client, path, 10, b"k"), 413, "too_large")


def test_of_many_who_go_on_at_one_place_at_once_one_does(client: TestClient, engine: Engine, storage: Storage) -> None:
    path = begin(client)
    contents = [letter.encode() * 5 for letter in "abcdefgh"]
    for at in (0, 5):
        with ThreadPoolExecutor(len(contents)) as pool:
            answers = list(pool.map(partial(send, client, path, at), contents))
        assert sorted(answer.status_code for answer in answers) == [204] + [409] * 7
        assert offset(client, path) == at + 5
        assert len(parts_of(storage)) == (1 if at == 0 else 2), "what lost leaves nothing"
        [won] = [content for content, answer in zip(contents, answers, strict=True) if answer.status_code == 204]
    assert content_of(engine, storage, path.rpartition("/")[2])[5:] == won


def test_an_empty_body_leaves_a_complete_upload_complete(client: TestClient) -> None:
    path, content = begin(client), b"abcdefghij"
    assert send(client, path, 0, content).status_code == 204
    complete = client.get(path).json()
    assert complete["state"] == "complete"
    for headers in ({}, checksum_header("sha256", b"")):
        assert send(client, path, len(content), b"", **headers).status_code == 204
        assert client.get(path).json() == complete


def test_a_checksum_is_checked_before_anything_is_kept(client: TestClient, storage: Storage) -> None:
    path = begin(client)
    problem = assert_problem(
        send(client, path, 0, b"abcd", **checksum_header("sha256", b"abce")), 460, "part_checksum_mismatch"
    )
    assert problem["title"] == "Checksum Mismatch"
    assert (offset(client, path), parts_of(storage)) == (0, [])
    for wrong in ("md5 " + "A" * 22 + "==", "sha256 AAAA", "sha256", "sha1 !"):
        assert_problem(send(client, path, 0, b"abcd", **{"Upload-Checksum": wrong}), 422, "invalid_request")
    assert send(client, path, 0, b"abcd", **checksum_header("sha256", b"abcd")).status_code == 204
    generated = {"Content-Type": "application/octet-stream"}  # of clients generated from the OpenAPI document
    assert send(client, path, 4, b"efghij", **generated, **checksum_header("sha1", b"efghij")).status_code == 204
    assert client.get(path).json()["sha256"] == hashlib.sha256(b"abcdefghij").hexdigest()


def test_creation_takes_the_first_bytes_too(client: TestClient) -> None:
    kind = {"Content-Type": "application/offset+octet-stream"}
    answer = client.post("/uploads", headers={**VERSION, **kind, "Upload-Length": "4"}, content=b"abcd")
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "4")
    assert client.get(answer.headers["location"]).json()["size"] == 4


def test_creation_whose_first_bytes_are_refused_leaves_no_upload(
    client: TestClient, engine: Engine, storage: Storage
) -> None:
    slots = client.app.state.services.upload_slots  # type: ignore[attr-defined]
    kind = {"Content-Type": "application/offset+octet-stream"}
    with session_scope(engine) as session:
        projects.ensure(session, "default").max_stored_bytes = 5

    def create(content: bytes, **headers: str) -> Any:
        return client.post("/uploads", headers={**VERSION, "Upload-Length": "4", **kind, **headers}, content=content)

    for _ in range(2):
        # Each announces four of the five bytes of the quota.
        wrong = create(b"abcd", **checksum_header("sha256", b"other"))
        assert_problem(wrong, 460, "part_checksum_mismatch")
        assert_problem(create(b"abcde"), 413, "too_large")
        mislabeled = create(b"abcd", **{"Content-Type": "image/png", "Upload-Offset": "0"})
        assert_problem(mislabeled, 415, "unsupported_media_type")
        with ExitStack() as stack:
            for _ in range(16):
                stack.enter_context(slots.taken("default"))
            assert_problem(create(b"abcd"), 429, "too_many_uploads")
    with read_scope(engine) as session:
        assert session.scalar(select(func.count()).select_from(Upload)) == 0
    assert list(storage.list()) == []
    assert create(b"abcd").status_code == 201


def test_creations_that_make_no_sense_are_refused(client: TestClient, settings: Settings, engine: Engine) -> None:
    too_long = str(settings.max_upload_bytes + 1)
    for headers, status, code in (
        ({}, 422, "invalid_request"),
        ({"Upload-Length": "x"}, 422, "invalid_request"),
        ({"Upload-Defer-Length": "1"}, 422, "invalid_request"),
        ({"Upload-Length": "0"}, 422, "empty_upload"),
        ({"Upload-Length": too_long}, 413, "too_large"),
        ({"Upload-Length": "9", "Upload-Metadata": "filename !"}, 422, "invalid_request"),
        ({"Upload-Length": "9", "Tus-Resumable": "0.2.2"}, 412, "unsupported_tus_version"),
    ):
        answer = client.post("/uploads", headers={**VERSION, **headers})
        assert_problem(answer, status, code)
        assert answer.headers["tus-resumable"] == "1.0.0"
    assert client.post("/uploads", headers={"Tus-Resumable": "2"}).headers["tus-version"] == "1.0.0"
    assert client.head(begin(client)).status_code == 412
    with session_scope(engine) as session:
        assert session.scalar(select(func.count()).select_from(Upload)) == 1
        projects.ensure(session, "default").max_stored_bytes = 20
    # What is announced counts: of ten bytes twice, and one byte more.
    begin(client)
    refused = client.post("/uploads", headers={**VERSION, "Upload-Length": "1"})
    assert_problem(refused, 403, "quota_exceeded")


def test_one_that_is_given_up_is_removed_with_its_bytes(client: TestClient, storage: Storage) -> None:
    path = begin(client)
    send(client, path, 0, b"abcd")
    assert client.delete(path, headers=VERSION).status_code == 204
    assert client.head(path, headers=VERSION).status_code == 404
    assert parts_of(storage) == []
    # A complete one too, with or without the protocol.
    upload = client.post("/uploads", content=b"x").json()
    assert client.delete(f"/uploads/{upload['id']}").status_code == 204
    assert list(storage.list()) == []


def test_methods_may_hide_in_a_post(client: TestClient) -> None:
    path = begin(client)
    headers = {**VERSION, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    answer = client.post(path, headers={**headers, "X-HTTP-Method-Override": "PATCH"}, content=b"abcd")
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "4")
    assert client.post(path, headers={**VERSION, "X-HTTP-Method-Override": "DELETE"}).status_code == 204


def test_one_that_nobody_goes_on_with_expires(
    client: TestClient, engine: Engine, settings: Settings, storage: Storage
) -> None:
    path = begin(client)
    answer = send(client, path, 0, b"abcd")
    assert answer.headers["upload-expires"].endswith("GMT")
    upload_id = path.rpartition("/")[2]
    with session_scope(engine) as session:
        row = session.get_one(Upload, upload_id)
        row.created_at = now(session) - timedelta(days=3)
    assert offset(client, path) == 4, "the newest byte counts"
    with session_scope(engine) as session:
        session.get_one(Upload, upload_id).active_at = now(session) - timedelta(days=2)
    assert client.head(path, headers=VERSION).status_code == 410
    assert_problem(send(client, path, 4, b"e"), 410, "upload_expired")
    collector = Collector(settings.model_copy(update={"collect_min_age_seconds": 0.001}), engine, storage)
    time.sleep(0.01)
    collector.collect()
    assert parts_of(storage) == []
    assert client.head(path, headers=VERSION).status_code == 404


def test_parts_that_a_row_names_are_not_collected(client: TestClient, engine: Engine, storage: Storage) -> None:
    path = begin(client)
    send(client, path, 0, b"abcd")
    stray = storage.put(f"upload-parts/{path.rpartition('/')[2]}/01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10", [b"x"])
    assert stray.size == 1
    with read_scope(engine) as session:
        abandoned = objects.unreferenced(session, parts_of(storage), after=timedelta(0))
        named = set(session.scalars(select(UploadPart.key)))
    assert len(named) == 1
    assert abandoned == set(parts_of(storage)) - named


def test_a_process_that_dies_keeps_what_it_had_told(sqlite_url: str, tmp_path: Path) -> None:
    settings = make_settings(sqlite_url, tmp_path)
    storage = build_storage(settings.storage_url)
    engine = create_engine(settings.database_url)
    with api_process(settings) as (url, pid):
        uploader = TusClient(f"{url}/uploads").uploader(file_stream=io.BytesIO(CONTENT), chunk_size=1 << 20)
        uploader.upload_chunk()
        uploader.upload_chunk()
        os.kill(pid, 9)
    path = urlsplit(uploader.url).path
    with api_process(settings) as (url, _):
        again = TusClient(f"{url}/uploads").uploader(
            file_stream=io.BytesIO(CONTENT), url=url + path, chunk_size=1 << 20
        )
        assert again.get_offset() == 2 << 20
        again.upload()
    assert content_of(engine, storage, path.rpartition("/")[2]) == CONTENT
    engine.dispose()
