"""The sandbox of reader processes. Skips name what this system lacks."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.test_isolation import needs_landlock, needs_namespaces
from ttm_core.errors import BadCheckpoint, EngineError
from ttm_core.reader.limits import ReaderLimits
from ttm_core.reader.process import read_untrusted
from ttm_core.sandbox import paths

PROBE = """
import json, os, socket, sys
from ttm_core.sandbox.confine import Paths, confine_this
given = json.loads(sys.argv[1])
missing = confine_this(Paths(**given["paths"]))
def can(act):
    try:
        act()
        return True
    except OSError:
        return False
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "missing": missing,
    "interfaces": [name for _, name in socket.if_nameindex()],
    "network": can(lambda: socket.create_connection(("127.0.0.1", given["port"]), timeout=5)),
    "inside": can(lambda: open(given["inside"] + "/made", "w").close()),
    "outside": can(lambda: open(given["outside"]).close()),
    "environment of the parent": can(lambda: open(f"/proc/{os.getppid()}/environ", "rb").close()),
    "capabilities": int(status["CapEff"], 16),
    "new privileges": status["NoNewPrivs"].strip() == "0",
}))
"""


@needs_landlock
@needs_namespaces
def test_reader_has_no_network_no_other_files_and_no_privileges(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.write_text("x")
    allowed = {"list": paths.listed(), "read": paths.programs(), "write": [str(inside)]}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        given = json.dumps({"paths": allowed, "inside": str(inside), "outside": str(outside), "port": port})
        done = subprocess.run([sys.executable, "-c", PROBE, given], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {
        "missing": [],
        "interfaces": ["lo"],
        "network": False,
        "inside": True,
        "outside": False,
        "environment of the parent": False,
        "capabilities": 0,
        "new privileges": False,
    }


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, "reader_killed"), (signal.SIGTERM, "reader_killed"), (signal.SIGSEGV, "bad_checkpoint")],
)
def test_a_reader_that_is_killed_from_outside_says_nothing_about_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: str
) -> None:
    popen = subprocess.Popen
    killed = ["/bin/sh", "-c", f"read given; kill -{number} $$"]
    monkeypatch.setattr("ttm_core.reader.process.subprocess.Popen", lambda _, **options: popen(killed, **options))
    with pytest.raises(EngineError, match=number.name) as raised:
        _check(tmp_path / "x.safetensors", ReaderLimits(2**30, 60))
    assert (raised.value.code, raised.value.retryable) == (code, code == "reader_killed")


def test_a_reader_without_cpu_time_left_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen
    code = "import json, sys; from ttm_core.reader.__main__ import _limit; _limit(**json.loads(sys.argv[1]))\nwhile True: pass"

    def busy(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        return popen([sys.executable, "-c", code, json.dumps({**json.loads(command[-1]), "cpu_seconds": 1})], **options)

    monkeypatch.setattr("ttm_core.reader.process.subprocess.Popen", busy)
    with pytest.raises(BadCheckpoint, match="was not read within the limit"):
        _check(tmp_path / "x.safetensors", ReaderLimits(2**30, 60))


def _check(path: Path, limits: ReaderLimits) -> None:
    read_untrusted(
        "safetensors",
        {"source": str(path)},
        input_bytes=0,
        file_bytes=0,
        error=BadCheckpoint,
        subject="The checkpoint",
        limits=limits,
    )


@needs_landlock
def test_tasks_read_and_write_only_what_the_caller_names(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "x.pth")
    target = tmp_path / "out" / "x.safetensors"
    target.parent.mkdir()

    def convert(**allowed: list[Path]) -> None:
        read_untrusted(
            "checkpoint",
            {"source": str(tmp_path / "x.pth"), "target": str(target)},
            input_bytes=0,
            file_bytes=2**20,
            error=BadCheckpoint,
            subject="The checkpoint",
            **allowed,
        )

    with pytest.raises(EngineError, match="PermissionError"):
        convert(writes=[target.parent])
    with pytest.raises(EngineError, match="PermissionError"):
        convert(reads=[tmp_path / "x.pth"])
    assert not target.exists()
    convert(reads=[tmp_path / "x.pth"], writes=[target.parent])
    assert target.exists()
