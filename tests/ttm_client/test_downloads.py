"""Downloads: resumption, partial files, content that changed, and paths that cannot be written."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.flaky_proxy import FlakyProxy
from tests.support.runs import STUDENT_BYTES, claim, succeed
from ttm_client import Artifact, ChecksumMismatch, Client, ConnectionFailed, NotFound
from ttm_jobs.storage import Storage


def test_download_resumes_across_broken_connections(
    url: str, engine: Engine, storage: Storage, job_id: str, tmp_path: Path
) -> None:
    succeed(engine, storage, claim(engine, job_id))
    target = tmp_path / "student.safetensors"
    with FlakyProxy(url, 300_000) as proxy, Client(proxy.url) as client:
        client.jobs.download_student(job_id, target)
        # 1.28 MB in pieces below 0.3 MB, plus one connection for the size.
        assert 5 <= proxy.connections <= 8
    assert target.read_bytes() == STUDENT_BYTES
    assert [path.name for path in tmp_path.glob("*student*")] == ["student.safetensors"]


def test_download_continues_a_partial_file(
    client: Client, engine: Engine, storage: Storage, job_id: str, tmp_path: Path
) -> None:
    succeed(engine, storage, claim(engine, job_id))
    sha256 = hashlib.sha256(STUDENT_BYTES).hexdigest()
    part = tmp_path / f".student.{sha256[:16]}.part"
    part.write_bytes(STUDENT_BYTES[:1_000_000])
    held: list[int] = []
    client.jobs.download_student(job_id, tmp_path / "student", lambda done, total: held.append(done))
    assert held[0] > 1_000_000
    assert (tmp_path / "student").read_bytes() == STUDENT_BYTES
    # A complete but wrong partial file is not accepted.
    part.write_bytes(bytes(len(STUDENT_BYTES)))
    with pytest.raises(ChecksumMismatch):
        client.jobs.download_student(job_id, tmp_path / "student")
    assert not part.exists()
    assert (tmp_path / "student").read_bytes() == STUDENT_BYTES, "what was there stays"


@pytest.mark.parametrize("name", ["s" * 255, "größe" * 36 + "sss"])
def test_a_name_as_long_as_the_file_system_allows(
    url: str, client: Client, engine: Engine, storage: Storage, job_id: str, tmp_path: Path, name: str
) -> None:
    assert len(name.encode()) == 255
    succeed(engine, storage, claim(engine, job_id))
    with FlakyProxy(url, 1_000_000, broken=1) as proxy, Client(proxy.url) as flaky:
        flaky.jobs.download_student(job_id, tmp_path / name)
    assert (tmp_path / name).read_bytes() == STUDENT_BYTES
    assert [*tmp_path.glob(".*.part")] == []
    received: list[int] = []
    with pytest.raises(OSError, match="File name too long"):
        client.jobs.download_student(job_id, tmp_path / f"{name}s", lambda done, _: received.append(done))
    assert received == []


def test_downloads_to_one_path_at_the_same_time_both_end(
    url: str, engine: Engine, storage: Storage, job_id: str, tmp_path: Path
) -> None:
    """Each has its own partial file; the one that ends last replaces the file of the other, with the same content."""
    succeed(engine, storage, claim(engine, job_id))
    target = tmp_path / "student"
    sha256 = hashlib.sha256(STUDENT_BYTES).hexdigest()
    (tmp_path / f".student.{sha256[:16]}.part").write_bytes(STUDENT_BYTES[:1000])
    seen: list[int] = []

    def download_again(done: int, _: int) -> None:
        seen.append(done)
        if len(seen) == 1:
            # The outer download is in the middle of its content.
            with Client(url) as other:
                other.jobs.download_student(job_id, target, lambda done, _: inner.append(done))

    inner: list[int] = []
    with Client(url) as client:
        client.jobs.download_student(job_id, target, download_again)
    assert target.read_bytes() == STUDENT_BYTES
    assert seen == sorted(seen)
    assert inner == sorted(inner)
    assert seen[-1] == inner[-1] == len(STUDENT_BYTES)
    assert [path.name for path in tmp_path.glob("*student*")] == ["student"]


def test_downloads_of_threads_to_one_path_all_end(
    url: str, engine: Engine, storage: Storage, job_id: str, tmp_path: Path
) -> None:
    succeed(engine, storage, claim(engine, job_id))

    def download(_: int) -> bytes:
        with Client(url) as client:
            return client.jobs.download_student(job_id, tmp_path / "student").read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(download, range(24))) == {STUDENT_BYTES}
    assert [path.name for path in tmp_path.glob("*student*")] == ["student"]


def test_failed_download_leaves_no_empty_partial_file(client: Client, job_id: str, tmp_path: Path) -> None:
    missing = Artifact(name="log", media_type="text/plain", size=7, sha256="0" * 64, href="/jobs/unknown/log")
    with pytest.raises(NotFound):
        client.jobs.download_artifact(job_id, missing, tmp_path / "folder" / "log")
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("announced", [6, 100])
@pytest.mark.parametrize("have", [0, 3, 50])
def test_download_of_content_with_another_size_ends(
    client: Client, engine: Engine, storage: Storage, job_id: str, tmp_path: Path, announced: int, have: int
) -> None:
    succeed(engine, storage, claim(engine, job_id))
    log = client.jobs.artifacts(job_id)[1]
    assert log.size == 7
    replaced = log.model_copy(update={"size": announced, "sha256": "0" * 64})
    part = tmp_path / f".log.{'0' * 16}.part"
    part.write_bytes(bytes(have))
    calls: list[int] = []

    def progress(done: int, _: int) -> None:
        calls.append(done)
        assert len(calls) < 5, "an endless loop"

    with pytest.raises(ChecksumMismatch, match=f"expected {announced} bytes"):
        client.jobs.download_artifact(job_id, replaced, tmp_path / "log", progress)
    assert list(tmp_path.glob("*log*")) == []


def test_download_gives_up_on_responses_of_unknown_length_that_end_early(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("ttm_client.synchronous.download.time.sleep", pauses.append)
    with cut_off(b"step 1\n") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        log = Artifact(name="log", media_type="text/plain", size=100, sha256="0" * 64, href="/log")
        with (
            Client(f"http://127.0.0.1:{server.server_port}") as client,
            pytest.raises(ConnectionFailed, match="7 of 100"),
        ):
            client.jobs.download_artifact("j", log, tmp_path / "log")
        server.shutdown()
    assert len(pauses) == 7


def cut_off(content: bytes) -> HTTPServer:
    """A server that sends `content` without its length, and no ranges after its end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(416 if "Range" in self.headers else 200)
            self.end_headers()
            if "Range" not in self.headers:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return HTTPServer(("127.0.0.1", 0), Handler)


def test_partial_file_longer_than_the_content_is_replaced(
    client: Client, engine: Engine, storage: Storage, job_id: str, tmp_path: Path
) -> None:
    succeed(engine, storage, claim(engine, job_id))
    sha256 = hashlib.sha256(STUDENT_BYTES).hexdigest()
    (tmp_path / f".student.{sha256[:16]}.part").write_bytes(STUDENT_BYTES + b"more")
    client.jobs.download_student(job_id, tmp_path / "student")
    assert (tmp_path / "student").read_bytes() == STUDENT_BYTES


def test_unwritable_path_is_an_error_before_the_download(
    client: Client, engine: Engine, storage: Storage, job_id: str, tmp_path: Path
) -> None:
    succeed(engine, storage, claim(engine, job_id))
    calls: list[int] = []
    # Nobody, not even root, can create a file in /proc.
    for path, reason in ((tmp_path, "Is a directory"), (Path("/proc/student"), "No such file or directory")):
        with pytest.raises(OSError, match=reason):
            client.jobs.download_student(job_id, path, lambda done, _: calls.append(done))
    assert calls == []


def test_a_pipe_is_not_replaced_and_a_link_is_followed(
    client: Client, engine: Engine, storage: Storage, job_id: str, tmp_path: Path
) -> None:
    """As root, a download to /dev/null replaced the device."""
    succeed(engine, storage, claim(engine, job_id))
    pipe, link, linked = tmp_path / "pipe", tmp_path / "link", tmp_path / "linked"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(FileExistsError, match="not a regular file"):
            client.jobs.download_student(job_id, path)
    assert pipe.is_fifo()
    link.unlink()
    link.symlink_to(linked)
    for _ in range(2):
        assert client.jobs.download_student(job_id, link) == link
        assert link.is_symlink()
        assert linked.read_bytes() == STUDENT_BYTES


def test_a_tilde_is_the_home_folder(
    client: Client, engine: Engine, storage: Storage, job_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    succeed(engine, storage, claim(engine, job_id))
    assert client.jobs.download_student(job_id, "~/student") == tmp_path / "student"
    assert client.uploads.create("~/student").size == len(STUDENT_BYTES)


def test_full_disk_ends_a_download(
    client: Client, engine: Engine, storage: Storage, job_id: str, tmp_path: Path
) -> None:
    succeed(engine, storage, claim(engine, job_id))
    sha256 = hashlib.sha256(STUDENT_BYTES).hexdigest()
    (tmp_path / f".student.{sha256[:16]}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        client.jobs.download_student(job_id, tmp_path / "student")
