"""Other users of the machine cannot read the service's files, whatever the umask of the shell that starts it."""

import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.cli.conftest import ENVIRONMENT

TTM = [sys.executable, "-m", "ttm_client.cli.main"]
OPEN_UMASK = 0o022


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The URL and the process id of `ttm up` without a worker."""
    process = subprocess.Popen(
        [*TTM, "up", "--port", "0", "--workers", "0", "--var", str(tmp_path / "var")],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        umask=OPEN_UMASK,
    )
    assert process.stdout is not None
    try:
        [url] = re.findall(r"ready +(\S+)", process.stdout.readline())
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()


def readable_by_others(folder: Path) -> list[str]:
    return [str(path) for path in (folder, *folder.rglob("*")) if stat.S_IMODE(path.lstat().st_mode) & 0o077]


def test_files_of_ttm_up(running: tuple[str, int], tmp_path: Path) -> None:
    url, pid = running
    assert httpx2.post(f"{url}/uploads", content=b"x").status_code == 201
    names = {path.name for path in (tmp_path / "var").rglob("*")}
    assert {"ttm.db", "ttm.db-wal", "stack.lock", "api.log", "storage", "uploads"} <= names
    assert readable_by_others(tmp_path / "var") == []
    children = psutil.Process(pid).children()
    assert len(children) == 3  # broker, API, dispatcher
    if sys.platform == "linux":
        for process in (psutil.Process(pid), *children):
            assert "Umask:\t0077" in Path(f"/proc/{process.pid}/status").read_text(), process


def test_database_that_a_command_creates(tmp_path: Path) -> None:
    command = [*TTM, "keys", "create", "--scope", "admin", "--var", str(tmp_path / "var")]
    subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL, umask=OPEN_UMASK)
    assert (tmp_path / "var" / "ttm.db").exists()
    assert readable_by_others(tmp_path / "var") == []


def test_an_existing_folder_is_closed(tmp_path: Path) -> None:
    var = tmp_path / "var"
    var.mkdir(mode=0o755)
    process = subprocess.Popen(
        [*TTM, "up", "--port", "0", "--workers", "0", "--var", str(var)], env=ENVIRONMENT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert stat.S_IMODE(var.stat().st_mode) == 0o700
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    process.stdout.close()
