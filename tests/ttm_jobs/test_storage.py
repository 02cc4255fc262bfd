"""The storage contract, for every backend."""

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ttm_jobs.errors import Invalid, ObjectNotFound, StorageFull
from ttm_jobs.storage import Storage, Stored, build_storage
from ttm_jobs.storage.local import LocalStorage


@pytest.fixture(params=["file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return build_storage(f"{request.param}:{tmp_path}/storage")


def read(storage: Storage, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(storage.open(key, start, end))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("data", [b"", b"x", os.urandom(3 * 1024**2 + 17)], ids=["empty", "one", "3 MiB"])
def test_what_is_put_is_read(storage: Storage, data: bytes) -> None:
    assert storage.put("jobs/1/student", io.BytesIO(data)) == Stored(len(data), digest(data))
    assert read(storage, "jobs/1/student") == data
    assert storage.size("jobs/1/student") == len(data)


def test_chunks_may_come_from_an_iterator(storage: Storage) -> None:
    assert storage.put("a", iter([b"one", b"", b"two"])) == Stored(6, digest(b"onetwo"))
    assert read(storage, "a") == b"onetwo"


@pytest.mark.parametrize(("start", "end"), [(0, 1), (5, 10), (9, None), (10, None), (0, 100), (3, 3), (50, 60)])
def test_ranges(storage: Storage, start: int, end: int | None) -> None:
    storage.put("a", io.BytesIO(b"0123456789"))
    assert read(storage, "a", start, end) == b"0123456789"[start:end]


def test_an_object_is_replaced_whole_while_it_is_read(storage: Storage) -> None:
    storage.put("a", io.BytesIO(b"old" * 1_000_000))
    reader = storage.open("a")
    first = next(reader)
    storage.put("a", io.BytesIO(b"new"))
    assert first + b"".join(reader) == b"old" * 1_000_000
    assert read(storage, "a") == b"new"


def test_a_source_that_breaks_leaves_nothing(storage: Storage) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    storage.put("jobs/1/kept", io.BytesIO(b"kept"))
    for key in ("jobs/1/new", "jobs/1/kept"):
        with pytest.raises(ConnectionResetError):
            storage.put(key, broken())
    assert list(storage.list()) == ["jobs/1/kept"]
    assert read(storage, "jobs/1/kept") == b"kept"


@pytest.mark.parametrize("key", ["absent", "jobs/absent", "jobs", "jobs/1/student/deeper"])
def test_what_is_not_there(storage: Storage, key: str) -> None:
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
def test_keys_lead_nowhere_else(storage: Storage, key: str) -> None:
    with pytest.raises(Invalid):
        storage.put(key, io.BytesIO(b"x"))
    with pytest.raises(Invalid):
        storage.open(key)
    with pytest.raises(Invalid):
        storage.delete(key)


def test_writers_of_one_key_do_not_mix(storage: Storage) -> None:
    bodies = [bytes([number]) * 500_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda body: storage.put("same", io.BytesIO(body)), bodies))
    assert read(storage, "same") in bodies
    assert list(storage.list()) == ["same"]


def test_check_of_a_storage_that_works(storage: Storage) -> None:
    storage.check()


def test_a_place_that_cannot_be_written_is_found_by_check(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        build_storage(f"file:{tmp_path}/file/storage").check()


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_an_unknown_backend() -> None:
    with pytest.raises(ValueError, match="s3"):
        build_storage("s3://bucket")
