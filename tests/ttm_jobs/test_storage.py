"""The storage contract, for every backend."""

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from tests.support.clouds import CLOUDS, new_bucket
from tests.support.flaky_proxy import FlakyProxy
from tests.support.s3_server import S3Server
from ttm_jobs.broker.embedded import free_port
from ttm_jobs.errors import Invalid, ObjectNotFound, StorageFull, StorageUnreachable
from ttm_jobs.storage import Storage, Stored, build_storage
from ttm_jobs.storage.local import LocalStorage


@pytest.fixture(params=["file", "s3", "s3 under a prefix", "gs", "az"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    if request.param == "file":
        return build_storage(f"file:{tmp_path}/storage")
    if request.param in CLOUDS:
        return build_storage(f"{new_bucket(request, monkeypatch, request.param)}/some/prefix")
    server: S3Server = request.getfixturevalue("s3_server")
    bucket = server.new_bucket()
    return build_storage(f"s3://{bucket}/{'some/prefix' if 'prefix' in request.param else ''}", server.access)


def read(storage: Storage, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(storage.open(key, start, end))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("data", [b"", b"x", os.urandom(3 * 1024**2 + 17)], ids=["empty", "one", "3 MiB"])
def test_stored_object_is_read_back(storage: Storage, data: bytes) -> None:
    assert storage.put("jobs/1/student", io.BytesIO(data)) == Stored(len(data), digest(data))
    assert read(storage, "jobs/1/student") == data
    assert storage.size("jobs/1/student") == len(data)


def test_source_can_be_an_iterator(storage: Storage) -> None:
    assert storage.put("a", iter([b"one", b"", b"two"])) == Stored(6, digest(b"onetwo"))
    assert read(storage, "a") == b"onetwo"


@pytest.mark.parametrize(("start", "end"), [(0, 1), (5, 10), (9, None), (10, None), (0, 100), (3, 3), (50, 60)])
def test_byte_ranges(storage: Storage, start: int, end: int | None) -> None:
    storage.put("a", io.BytesIO(b"0123456789"))
    assert read(storage, "a", start, end) == b"0123456789"[start:end]


def test_object_is_replaced_atomically_during_reads(storage: Storage) -> None:
    storage.put("a", io.BytesIO(b"old" * 1_000_000))
    reader = storage.open("a")
    first = next(reader)
    storage.put("a", io.BytesIO(b"new"))
    assert first + b"".join(reader) == b"old" * 1_000_000
    assert read(storage, "a") == b"new"


def test_failing_source_leaves_no_object(storage: Storage) -> None:
    def broken() -> Iterator[bytes]:
        yield b"partial"
        raise ConnectionResetError

    storage.put("jobs/1/kept", io.BytesIO(b"kept"))
    for key in ("jobs/1/new", "jobs/1/kept"):
        with pytest.raises(ConnectionResetError):
            storage.put(key, broken())
    assert list(storage.list()) == ["jobs/1/kept"]
    assert read(storage, "jobs/1/kept") == b"kept"


@pytest.mark.parametrize("key", ["absent", "jobs/absent", "jobs", "jobs/1/student/deeper"])
def test_missing_object(storage: Storage, key: str) -> None:
    storage.put("jobs/1/student", io.BytesIO(b"x"))
    with pytest.raises(ObjectNotFound):
        storage.open(key)
    with pytest.raises(ObjectNotFound):
        storage.size(key)


def test_delete_and_list(storage: Storage) -> None:
    for key in ("jobs/1/b", "jobs/1/a", "jobs/10/a", "uploads/x"):
        storage.put(key, io.BytesIO(b"x"))
    assert list(storage.list()) == ["jobs/1/a", "jobs/1/b", "jobs/10/a", "uploads/x"]
    assert list(storage.list("jobs/1")) == ["jobs/1/a", "jobs/1/b"]
    storage.delete("jobs/1/a")
    storage.delete("jobs/1/a")
    storage.delete("never/was")
    assert list(storage.list("jobs")) == ["jobs/1/b", "jobs/10/a"]


BAD_KEYS = [
    "",
    "/abs",
    "a/",
    "a//b",
    "..",
    "a/../b",
    "a/./b",
    ".hidden",
    "a/.partial-x",
    "a\\b",
    "a b",
    "a\n",
    "ä",
    "x" * 600,
]


@pytest.mark.parametrize("key", BAD_KEYS, ids=repr)
def test_keys_outside_the_storage_are_rejected(storage: Storage, key: str) -> None:
    with pytest.raises(Invalid):
        storage.put(key, io.BytesIO(b"x"))
    with pytest.raises(Invalid):
        storage.open(key)
    with pytest.raises(Invalid):
        storage.delete(key)


def test_concurrent_writers_of_one_key_do_not_mix(storage: Storage) -> None:
    bodies = [bytes([number]) * 500_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda body: storage.put("same", io.BytesIO(body)), bodies))
    assert read(storage, "same") in bodies
    assert list(storage.list()) == ["same"]


def test_folder_deleted_during_a_write_is_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("jobs/1/last", io.BytesIO(b"x"))
    make = tempfile.mkstemp
    removed: list[bool] = []

    def once(prefix: str, dir: Path) -> tuple[int, str]:
        if not removed:
            removed.append(True)
            storage.delete("jobs/1/last")
        return make(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "mkstemp", once)
    storage.put("jobs/1/new", io.BytesIO(b"y"))
    assert list(storage.list()) == ["jobs/1/new"]


def test_sweep_keeps_complete_objects(storage: Storage) -> None:
    storage.put("jobs/1/student", io.BytesIO(b"x"))
    assert storage.sweep(timedelta(0)) == 0
    assert read(storage, "jobs/1/student") == b"x"


def test_sweep_removes_partial_files_of_dead_writers_only(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    program = (
        "import os, signal, sys; from pathlib import Path; from ttm_jobs.storage.local import LocalStorage\n"
        "def partial():\n    yield b'partial'\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "LocalStorage(Path(sys.argv[1])).put('jobs/1/killed', partial())"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == -signal.SIGKILL
    (left,) = (tmp_path / "jobs/1").iterdir()
    os.utime(left, (0, 0))
    removed: list[int] = []

    def slow() -> Iterator[bytes]:
        yield b"one"
        removed.append(storage.sweep(timedelta(hours=1)))
        yield b"two"

    storage.put("jobs/2/active", slow())
    assert removed == [1]
    assert not left.exists()
    assert [path.name for path in tmp_path.glob("jobs/*")] == ["2"]
    assert read(storage, "jobs/2/active") == b"onetwo"


def test_check_accepts_a_working_storage(storage: Storage) -> None:
    storage.check()


def test_check_rejects_an_unwritable_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        build_storage(f"file:{tmp_path}/file/storage").check()


def test_full_disk_is_reported_and_leaves_no_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("kept", io.BytesIO(b"kept"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match="No space left"):
        storage.put("new", io.BytesIO(b"new"))
    with pytest.raises(StorageFull):
        storage.put("kept", io.BytesIO(b"newer"))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_bytes() == b"kept"


def test_unknown_backend_is_rejected() -> None:
    with pytest.raises(ValueError, match="ftp"):
        build_storage("ftp://bucket")


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.new_bucket()


BIG = os.urandom(20 * 1024**2)


def test_multipart_object_is_visible_only_when_complete(s3_server: S3Server, bucket: str) -> None:
    storage = build_storage(f"s3://{bucket}", s3_server.access)
    visible: list[list[str]] = []

    def parts() -> Iterator[bytes]:
        for start in range(0, len(BIG), 1024**2):
            visible.append(list(storage.list()))
            yield BIG[start : start + 1024**2]

    assert storage.put("big", parts()) == Stored(len(BIG), digest(BIG))
    assert visible == [[]] * 20
    assert read(storage, "big") == BIG


def test_late_source_failure_leaves_no_parts(s3_server: S3Server, bucket: str) -> None:
    def broken() -> Iterator[bytes]:
        for _ in range(18):
            yield BIG[: 1024**2]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        build_storage(f"s3://{bucket}", s3_server.access).put("big", broken())
    assert s3_server.open_uploads(bucket) == []


def test_presigned_url_fetches_only_its_object(s3_server: S3Server, bucket: str) -> None:
    storage = build_storage(f"s3://{bucket}/prefix", s3_server.access)
    storage.put("jobs/1/student", io.BytesIO(b"0123456789"))
    link = storage.url("jobs/1/student")
    assert link is not None
    assert httpx2.get(link).content == b"0123456789"
    assert "X-Amz-Expires" in link
    assert str(s3_server.access.secret_access_key) not in link


def test_interrupted_read_is_retried(s3_server: S3Server, bucket: str) -> None:
    build_storage(f"s3://{bucket}", s3_server.access).put("big", io.BytesIO(BIG))
    with FlakyProxy(s3_server.url, allow=9 * 1024**2) as proxy:
        storage = build_storage(f"s3://{bucket}", replace(s3_server.access, endpoint=proxy.url))
        assert read(storage, "big") == BIG
        assert proxy.connections >= 3


def test_unreachable_storage_is_reported_without_secrets(bucket: str, s3_server: S3Server) -> None:
    access = replace(s3_server.access, endpoint=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageUnreachable) as raised:
        build_storage(f"s3://{bucket}", access).check()
    assert "127.0.0.1" not in raised.value.message
    assert str(access.secret_access_key) not in repr(access)


@pytest.mark.parametrize("size", [300_000, len(BIG)], ids=["in one request", "in parts"])
def test_interrupted_write_is_retried(s3_server: S3Server, bucket: str, size: int) -> None:
    with FlakyProxy(s3_server.url, taken=200_000, broken=3) as proxy:
        storage = build_storage(f"s3://{bucket}", replace(s3_server.access, endpoint=proxy.url))
        assert storage.put("big", io.BytesIO(BIG[:size])) == Stored(size, digest(BIG[:size]))
        assert proxy.connections > 3
    assert read(build_storage(f"s3://{bucket}", s3_server.access), "big") == BIG[:size]
    assert s3_server.open_uploads(bucket) == []


@pytest.mark.parametrize("size", [300_000, len(BIG)], ids=["in one request", "in parts"])
def test_failed_write_leaves_no_object_and_no_parts(s3_server: S3Server, bucket: str, size: int) -> None:
    direct = build_storage(f"s3://{bucket}", s3_server.access)
    direct.put("kept", io.BytesIO(b"kept"))
    # Small requests pass, including the one that aborts the multipart upload.
    with FlakyProxy(s3_server.url, taken=200_000) as proxy:
        storage = build_storage(f"s3://{bucket}", replace(s3_server.access, endpoint=proxy.url))
        for key in ("new", "kept"):
            with pytest.raises(StorageUnreachable):
                storage.put(key, io.BytesIO(BIG[:size]))
    assert list(direct.list()) == ["kept"]
    assert read(direct, "kept") == b"kept"
    assert s3_server.open_uploads(bucket) == []


@pytest.mark.parametrize("size", [300_000, len(BIG)], ids=["in one request", "in parts"])
def test_lost_response_does_not_damage_the_object(s3_server: S3Server, bucket: str, size: int) -> None:
    with FlakyProxy(s3_server.url, allow=0, broken=2) as proxy:
        storage = build_storage(f"s3://{bucket}", replace(s3_server.access, endpoint=proxy.url))
        assert storage.put("big", io.BytesIO(BIG[:size])) == Stored(size, digest(BIG[:size]))
    assert read(build_storage(f"s3://{bucket}", s3_server.access), "big") == BIG[:size]


@pytest.mark.parametrize("size", [0, 1, 8 * 1024**2, 8 * 1024**2 + 1])
def test_single_part_object_is_written_in_one_request(s3_server: S3Server, bucket: str, size: int) -> None:
    with FlakyProxy(s3_server.url) as proxy:
        storage = build_storage(f"s3://{bucket}", replace(s3_server.access, endpoint=proxy.url))
        assert storage.put("one", io.BytesIO(BIG[:size])) == Stored(size, digest(BIG[:size]))
        in_parts = b"?uploads" in proxy.heard
    assert in_parts == (size > 8 * 1024**2)
    assert read(build_storage(f"s3://{bucket}", s3_server.access), "one") == BIG[:size]
