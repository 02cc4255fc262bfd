"""The API as a process: light, quick, and gone when it is asked to go."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import psutil

from tests.api.conftest import make_settings
from tests.support.api_server import api_process

_HEAVY = ("torch", "timm", "numpy", "celery", "kombu", "redis", "sklearn", "PIL")


def test_importing_the_api_is_quick_and_light() -> None:
    program = (
        "import json, sys, time, api.app;"
        f"print(json.dumps([[name for name in {_HEAVY!r} if name in sys.modules], time.process_time()]))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    loaded, seconds = json.loads(output)
    assert loaded == []
    # Of the processor: other processes of a test run do not count.
    assert seconds < 2


def test_the_process_answers_within_two_seconds_and_stays_small(sqlite_url: str, tmp_path: Path) -> None:
    with api_process(make_settings(sqlite_url, tmp_path)) as (url, pid):
        times = psutil.Process(pid).cpu_times()
        assert times.user + times.system < 2
        for _ in range(50):
            assert httpx2.get(f"{url}/jobs").status_code == 200
        assert psutil.Process(pid).memory_info().rss < 160 << 20


def test_sigterm_ends_live_streams_and_the_process(sqlite_url: str, tmp_path: Path) -> None:
    settings = make_settings(sqlite_url, tmp_path)
    lines: list[str] = []
    told = threading.Event()

    def listen(url: str, job_id: str) -> None:
        with httpx2.stream("GET", f"{url}/jobs/{job_id}/events", timeout=30) as answer:
            for line in answer.iter_lines():
                lines.append(line)
                told.set()
        lines.append("whole")

    with api_process(settings, {"TTM_DATA_ROOTS": str(tmp_path)}) as (url, _):
        body = {"student": "resnet18", "dataset": tmp_path.as_uri(), "method": "ce"}
        job_id = httpx2.post(f"{url}/jobs", json=body).json()["id"]
        listener = threading.Thread(target=listen, args=(url, job_id))
        listener.start()
        assert told.wait(10)
        started = time.monotonic()
    assert time.monotonic() - started < 3
    listener.join(5)
    assert lines[-1] == "whole"


def test_a_taken_port_is_an_error(sqlite_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment = {"TTM_DATABASE_URL": sqlite_url, "TTM_PORT": str(taken.getsockname()[1]), "PATH": "/usr/bin"}
        ended = subprocess.run(
            [sys.executable, "-m", "api"], env=environment, capture_output=True, text=True, timeout=20, check=False
        )
    assert ended.returncode != 0
    assert "address already in use" in ended.stdout
