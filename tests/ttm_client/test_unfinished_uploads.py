"""Uploads that continue where an earlier process ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from tests.support.tiny import wait_until
from ttm_client import Client, Upload

_SIZE = 4_000_000
_KILLED = """
import os, signal, sys
from ttm_client import Client

def progress(done, total):
    if done > 2_500_000:
        os.kill(os.getpid(), signal.SIGKILL)

Client(sys.argv[1]).uploads.create(sys.argv[2], progress)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.pt"
    path.write_bytes(os.urandom(_SIZE))
    return path


def _address(cache: Path) -> str:
    (stored,) = (cache / "ttm" / "uploads").iterdir()
    return stored.read_text()


def _upload_of_a_killed_process(url: str, file: Path, cache: Path) -> str:
    """Starts an upload in a process that is killed, and returns its path once the service has stored some bytes."""
    ended = subprocess.run([sys.executable, "-c", _KILLED, url, str(file)], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    href = _address(cache)

    def stored() -> bool:
        response = httpx2.head(url + href, headers={"Tus-Resumable": "1.0.0"})
        return int(response.headers["upload-offset"]) > 0

    wait_until(stored)
    return href


@pytest.mark.parametrize("method", ["create", "ensure"])
def test_an_upload_of_a_killed_process_continues(
    url: str, client: Client, file: Path, cache: Path, method: str, tmp_path: Path
) -> None:
    href = _upload_of_a_killed_process(url, file, cache)
    copy = tmp_path / "copy.pt"
    copy.write_bytes(file.read_bytes())
    sent: list[int] = []
    upload = getattr(client.uploads, method)(copy, lambda done, _: sent.append(done))
    assert f"/uploads/{upload.id}" == href
    assert sent[0] > 1 << 20, "it starts after the bytes that the service has"
    assert upload.size == _SIZE
    assert [*(cache / "ttm" / "uploads").iterdir()] == []
    assert client.uploads.create(file).id != upload.id, "the upload was complete"


def test_an_upload_that_the_service_has_deleted_starts_again(url: str, client: Client, file: Path, cache: Path) -> None:
    href = _upload_of_a_killed_process(url, file, cache)
    client.uploads.delete(href.rpartition("/")[2])
    assert f"/uploads/{client.uploads.create(file).id}" != href


def test_other_content_and_other_services_are_other_uploads(url: str, client: Client, file: Path, cache: Path) -> None:
    href = _upload_of_a_killed_process(url, file, cache)
    content = file.read_bytes()
    file.write_bytes(content[::-1])
    assert f"/uploads/{client.uploads.create(file).id}" != href
    file.write_bytes(content)
    with Client(url.replace("127.0.0.1", "localhost")) as other:
        assert f"/uploads/{other.uploads.create(file).id}" != href
    assert _address(cache) == href


def test_uploads_of_one_file_at_the_same_time_are_separate(url: str, client: Client, file: Path) -> None:
    inner: list[Upload] = []

    def upload_again(done: int, _: int) -> None:
        if not inner:
            with Client(url) as other:
                inner.append(other.uploads.create(file))

    outer = client.uploads.create(file, upload_again)
    assert outer.id != inner[0].id
    assert outer.sha256 == inner[0].sha256


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/dev/null"])
def test_a_cache_that_cannot_be_written_is_not_used(
    client: Client, file: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", folder)
    assert client.uploads.create(file).size == _SIZE


def test_old_addresses_and_damaged_ones_are_not_used(client: Client, file: Path, cache: Path) -> None:
    folder = cache / "ttm" / "uploads"

    def interrupt(done: int, _: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.uploads.create(file, interrupt)
    (stored,) = folder.iterdir()
    for content in ("", "https://elsewhere.example.org/", "/uploads/../jobs", "\x00"):
        stored.write_text(content)
        assert client.uploads.create(file).size == _SIZE
    old = folder / "old"
    old.touch()
    os.utime(old, (0, time.time() - 31 * 86400))
    client.uploads.create(file)
    assert not old.exists()
