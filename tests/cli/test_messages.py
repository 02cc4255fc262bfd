"""Unusable folders, an empty API key, and text that would change the terminal."""

import json
import sys
from pathlib import Path

import pytest

from cli.stack.processes import Service
from cli.stack.stack import Stack
from tests.cli.conftest import ENVIRONMENT, Ttm
from tests.support.answering import answering
from tests.support.forked_ttm import run_ttm
from tests.support.tiny import wait_until
from ttm_client import Client


@pytest.mark.parametrize("command", [["up", "--port", "0"], ["keys", "list"]])
@pytest.mark.parametrize("kind", ["file", "unwritable"])
def test_an_unusable_data_folder(tmp_path: Path, command: list[str], kind: str) -> None:
    (tmp_path / "file").write_text("")
    # Nobody, not even root, can create a folder there.
    var = tmp_path / "file" if kind == "file" else Path("/proc/ttm")
    ended = run_ttm(*command, "--var", str(var), environment=ENVIRONMENT)
    assert ended.returncode == 1
    assert "cannot be used" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_an_empty_api_key_is_no_key(stack: Stack) -> None:
    for key in ("", " "):
        ended = run_ttm("jobs", environment={**ENVIRONMENT, "TTM_URL": stack.url, "TTM_API_KEY": key})
        assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("key", "message"), [("größe", "characters"), ("a\nb", "characters"), ("ttm_wrong", "TTM_API_KEY")]
)
def test_an_invalid_api_key_is_an_error(stack: Stack, key: str, message: str) -> None:
    ended = run_ttm("audit", environment={**ENVIRONMENT, "TTM_URL": stack.url, "TTM_API_KEY": key})
    assert ended.returncode in (1, 2)
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_names_cannot_change_the_terminal(stack: Stack, ttm: Ttm, data: Path) -> None:
    name = "red\x9b31m and\u202egnirts\u2066x"
    with Client(stack.url) as client:
        job = client.jobs.create(student="resnet18", method="ce", dataset=data.as_uri(), name=name)
        for command in (("jobs",), ("show", job.id), ("jobs", "--json"), ("show", job.id, "--json")):
            shown = ttm(*command).stdout
            assert "gnirts" in shown
            assert not set("\x9b\u202e\u2066") & set(shown), command
    assert json.loads(shown)["name"] == name, "JSON keeps the value"


def test_a_log_is_rotated_while_the_process_writes(tmp_path: Path) -> None:
    program = "import time\nwhile True:\n print('x' * 99, flush=True)\n time.sleep(0.001)"
    log = tmp_path / "log" / "writer.log"
    service = Service("writer", [sys.executable, "-c", program], ENVIRONMENT, log, 5.0)
    service.start()
    try:
        wait_until(lambda: log.stat().st_size > 20_000)
        service.rotate_log(max_bytes=20_000)
        assert log.with_suffix(".1.log").stat().st_size > 20_000
        assert log.stat().st_size < 20_000
        before = log.stat().st_size
        wait_until(lambda: log.stat().st_size > before + 1000)
        # Appended, not written at the old offset.
        assert b"\0" not in log.read_bytes()
    finally:
        service.stop()


def test_another_json_service_is_an_error_in_one_line(ttm: Ttm) -> None:
    with answering(200, b'{"status": "ok"}', Content_Type="application/json") as url:
        for command in (["jobs"], ["uploads", "list"], ["study", "list"], ["devices"], ["queue"], ["show", "a"]):
            ended = ttm(*command, url=url)
            assert ended.returncode == 1
            assert url in ended.stderr
            assert "the URL is not that of this service" in ended.stderr
            assert len(ended.stderr.splitlines()) == 1
