"""Runs every curl command of the README against a real service with the tiny trainer."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack.stack import Stack, StackOptions
from ttm_client import Client

README = (Path(__file__).parents[2] / "README.md").read_text()
COMMANDS = re.findall(r"^curl .*$", README.replace("\\\n", " "), re.M)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    (tmp_path / "pets").mkdir()
    options = StackOptions(
        var=tmp_path / "var",
        port=0,
        data_roots=(tmp_path,),
        worker_command=(sys.executable, "-m", "tests.support.tiny_worker"),
        environment={name: value for name, value in os.environ.items() if not name.startswith("TTM_")},
    )
    with Stack(options) as stack:
        yield stack


def test_curl_commands(stack: Stack, tmp_path: Path) -> None:
    assert len(COMMANDS) == 3

    def run(command: str, **replaced: str) -> str:
        for written, actual in {"http://127.0.0.1:8000": stack.url, "/data/pets": str(tmp_path / "pets")}.items():
            command = command.replace(written, actual)
        for written, actual in replaced.items():
            command = command.replace(written, actual)
        ended = subprocess.run(["bash", "-euc", command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    content = b"weights" * 1000
    (tmp_path / "teacher.safetensors").write_bytes(content)
    upload, submit, download = COMMANDS
    uploaded = json.loads(run(upload))
    assert (uploaded["uri"], uploaded["sha256"]) == (f"upload:{uploaded['id']}", hashlib.sha256(content).hexdigest())
    job = json.loads(run(submit, ID=uploaded["id"]))
    assert job["state"] == "queued"
    with Client(stack.url) as client:
        done = client.jobs.wait(job["id"], timeout=600)
    [student] = [artifact for artifact in done.artifacts if artifact.name == "student.safetensors"]
    before = set(tmp_path.iterdir())
    run(download, JOB=job["id"])
    [file] = set(tmp_path.iterdir()) - before
    assert file.suffix == ".safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == student.sha256
