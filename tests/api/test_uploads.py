"""Uploads: whole or not at all, in flat memory."""

import base64
import hashlib
import http.client
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select

from tests.api.conftest import make_settings
from tests.api.test_bad_requests import assert_problem
from tests.support.api_server import api_process
from ttm_jobs.database.engine import create_engine, read_scope
from ttm_jobs.models import Upload
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage, build_storage

CONTENT = bytes(range(256)) * 12_345


def assert_nothing_is_left(settings: Settings) -> None:
    engine = create_engine(settings.database_url)
    with read_scope(engine) as session:
        assert session.scalar(select(func.count()).select_from(Upload)) == 0
    engine.dispose()
    folder = Path(settings.storage_url.removeprefix("file:"))
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def stored(storage: Storage, upload_id: str) -> bytes:
    return b"".join(storage.open(f"uploads/{upload_id}"))


def test_a_raw_body_is_stored_and_described(client: TestClient, storage: Storage) -> None:
    answer = client.post("/uploads?filename=teacher.pt", content=CONTENT)
    upload = answer.json()
    assert answer.status_code == 201
    assert upload["size"] == len(CONTENT)
    assert upload["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert upload["uri"] == f"upload:{upload['id']}"
    assert upload["filename"] == "teacher.pt"
    assert client.get(answer.headers["location"]).json() == upload
    assert stored(storage, upload["id"]) == CONTENT


def test_a_body_in_chunks_without_a_length_is_stored(client: TestClient, storage: Storage) -> None:
    upload = client.post("/uploads", content=iter([b"ab", b"", b"c" * 3_000_000])).json()
    assert stored(storage, upload["id"]) == b"ab" + b"c" * 3_000_000


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="a b.pt"', "a b.pt"),
        ("attachment; filename*=utf-8''gr%C3%B6%C3%9Fe.pt", "größe.pt"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\temp\\\\x.pt"', "x.pt"),
        ("attachment; filename*=utf-8''%00%1b[31mx", "[31mx"),
        ("attachment; filename*=utf-8''" + "a" * 400, "a" * 255),
        ('attachment; filename=".."', ".."),
        ("attachment", None),
        ("nonsense;;;=", None),
        ('attachment; filename=""', None),
    ],
)
def test_names_are_cut_to_a_plain_name(sqlite_client: TestClient, header: str, name: str | None) -> None:
    answer = sqlite_client.post("/uploads", content=b"x", headers={"content-disposition": header})
    assert answer.json()["filename"] == name


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def test_an_announced_hash_is_checked(sqlite_client: TestClient, sqlite_settings: Settings) -> None:
    wrong = hashlib.sha256(b"other").hexdigest()
    refused = sqlite_client.post("/uploads", content=b"x", headers={"x-content-sha256": wrong})
    assert_problem(refused, 422, "checksum_mismatch")
    assert_problem(
        sqlite_client.post("/uploads", content=b"x", headers={"repr-digest": digest(b"y")}), 422, "checksum_mismatch"
    )
    for header in ({"x-content-sha256": "abc"}, {"repr-digest": "sha-256=:abc:"}):
        assert_problem(sqlite_client.post("/uploads", content=b"x", headers=header), 422, "invalid_request")
    assert_nothing_is_left(sqlite_settings)
    right = {"x-content-sha256": hashlib.sha256(b"x").hexdigest().upper()}
    assert sqlite_client.post("/uploads", content=b"x", headers=right).status_code == 201
    assert sqlite_client.post("/uploads", content=b"x", headers={"repr-digest": digest(b"x")}).status_code == 201


@pytest.mark.parametrize("path", ["/uploads", "/uploads/teacher.safetensors"])
def test_put_stores_the_body(sqlite_client: TestClient, path: str) -> None:
    """`curl -T FILE URL/uploads`, and `curl -T FILE URL/uploads/`, which appends the file's name."""
    content = bytes(range(256)) * 8192  # 2 MiB, more than the limit of other bodies
    created = [sqlite_client.put(path, content=content) for _ in range(2)]
    assert [answer.status_code for answer in created] == [201, 201]
    assert created[0].json()["id"] != created[1].json()["id"]
    upload = sqlite_client.get(created[0].headers["location"]).json()
    assert upload == created[0].json()
    assert (upload["size"], upload["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert upload["filename"] == ("teacher.safetensors" if path.endswith("s/teacher.safetensors") else None)


def test_put_checks_the_checksum_and_the_size(sqlite_client: TestClient, sqlite_settings: Settings) -> None:
    wrong = {"x-content-sha256": "0" * 64}
    assert_problem(sqlite_client.put("/uploads/f", content=b"x", headers=wrong), 422, "checksum_mismatch")
    assert_problem(sqlite_client.put("/uploads/f", content=b""), 422, "empty_upload")
    too_large = bytes(sqlite_settings.max_upload_bytes + 1)
    assert_problem(sqlite_client.put("/uploads", content=too_large), 413, "too_large")
    assert_nothing_is_left(sqlite_settings)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_forms_are_rejected(sqlite_client: TestClient, sqlite_settings: Settings, method: str) -> None:
    answer = sqlite_client.request(method, "/uploads", files={"file": ("a", b"data")})
    assert_problem(answer, 415, "unsupported_media_type")
    assert "curl -T" in answer.json()["detail"]
    assert_nothing_is_left(sqlite_settings)


def test_an_empty_file_is_refused(sqlite_client: TestClient, sqlite_settings: Settings) -> None:
    assert_problem(sqlite_client.post("/uploads", content=b""), 422, "empty_upload")
    assert_nothing_is_left(sqlite_settings)


def test_too_large_a_file_is_refused_by_its_announced_and_by_its_real_length(
    sqlite_client: TestClient, sqlite_settings: Settings
) -> None:
    limit = sqlite_settings.max_upload_bytes
    assert sqlite_client.post("/uploads", content=bytes(limit)).status_code == 201
    assert_problem(sqlite_client.post("/uploads", content=bytes(limit + 1)), 413, "too_large")
    chunks = iter([bytes(1 << 20)] * 9)
    assert_problem(sqlite_client.post("/uploads", content=chunks), 413, "too_large")
    assert len(list(build_storage(sqlite_settings.storage_url).list("uploads"))) == 1


def test_a_client_that_goes_away_leaves_nothing(live: str, settings: Settings, engine: Engine) -> None:
    parts = urlsplit(live)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(
            b"POST /uploads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n" + bytes(2_000_000)
        )
        wait_for(lambda: rows(engine) == 1)
    wait_for(lambda: rows(engine) == 0)
    assert_nothing_is_left(settings)


def test_a_refused_upload_is_told_while_it_is_still_being_sent(live: str) -> None:
    parts = urlsplit(live)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=600)
    connection.putrequest("POST", "/uploads")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    connection.close()


def test_a_large_upload_needs_no_memory(sqlite_url: str, tmp_path: Path) -> None:
    settings = make_settings(sqlite_url, tmp_path)
    blocks, block = 200, bytes(1 << 20)

    def content() -> Iterator[bytes]:
        yield from (block for _ in range(blocks))

    with api_process(settings, {"TTM_MAX_UPLOAD_BYTES": str(1 << 30)}) as (url, pid):
        process = psutil.Process(pid)
        parts = urlsplit(url)
        before = process.memory_info().rss
        peak = before
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        connection.putrequest("POST", "/uploads")
        connection.putheader("Content-Length", str(blocks << 20))
        connection.endheaders()
        for chunk in content():
            connection.send(chunk)
            peak = max(peak, process.memory_info().rss)
        assert connection.getresponse().status == 201
        connection.close()
    assert peak - before < 24 << 20, f"{(peak - before) >> 20} MiB"
    storage = build_storage(settings.storage_url)
    assert [storage.size(key) for key in storage.list("uploads")] == [blocks << 20]


def rows(engine: Engine) -> int:
    with read_scope(engine) as session:
        return session.scalar(select(func.count()).select_from(Upload)) or 0


def wait_for(condition: Callable[[], bool], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
