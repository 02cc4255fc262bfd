"""Standard streams of other encodings, closed ones, and pipes whose reader ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.stack.stack import Stack
from tests.cli.conftest import ENVIRONMENT
from ttm_client import Client

NAME = "größe 日本 1…2"
TTM = f"{sys.executable} -m ttm_client.cli.main"


@pytest.fixture(scope="module")
def job(stack: Stack, data: Path) -> str:
    with Client(stack.url) as client:
        return client.jobs.create(student="resnet18", method="ce", dataset=data.as_uri(), name=NAME).id


def shell(stack: Stack, script: str, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    """Runs a line of bash in which $ttm is the command."""
    environment = {**ENVIRONMENT, "TTM_URL": stack.url, "PYTHONIOENCODING": encoding, "ttm": TTM}
    # Otherwise the output would be written at once, not when the buffer is full or the command ends.
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], env=environment, capture_output=True, timeout=300, check=False
    )


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", rb"gr\xf6\xdfe \u65e5\u672c 1~2"),
        ("latin-1", "größe ".encode("latin-1") + rb"\u65e5\u672c 1~2"),
        ("utf-8", NAME.encode()),
    ],
)
def test_output_that_is_not_utf8_has_escapes(stack: Stack, job: str, encoding: str, shown: bytes) -> None:
    ended = shell(stack, f"$ttm show {job} && $ttm show {job} --json", encoding)
    assert ended.returncode == 0, ended.stderr
    *rows, document = ended.stdout.splitlines()
    assert b"name\t" + shown in rows
    assert json.loads(document)["name"] == NAME
    assert (NAME.encode() in document) == (encoding == "utf-8")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(stack: Stack, job: str, closed: str) -> None:
    ended = shell(stack, f"$ttm show {job} {closed}")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert (job.encode() in ended.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_closed_pipe_ends_the_command_without_a_message(stack: Stack, job: str) -> None:
    ended = shell(stack, f"(sleep 0.1; $ttm show {job}) | true")
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_full_disk_is_an_error(stack: Stack, job: str) -> None:
    for command in (f"show {job}", f"show {job} --json", "--version"):
        ended = shell(stack, f"$ttm {command} > /dev/full")
        assert (ended.returncode, ended.stderr) == (1, b"error No space left on device\n"), command
