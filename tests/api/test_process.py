"""The API as a process: imports, memory, shutdown and start errors."""

import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import psutil

from tests.api.conftest import make_settings
from tests.support.api_server import api_process

_HEAVY = ("torch", "timm", "numpy", "celery", "kombu", "redis", "sklearn", "PIL")


def test_importing_the_api_imports_no_heavy_package() -> None:
    program = f"import sys, api.app; print([name for name in {_HEAVY!r} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_process_needs_little_memory(sqlite_url: str, tmp_path: Path) -> None:
    with api_process(make_settings(sqlite_url, tmp_path)) as (url, pid):
        for _ in range(50):
            assert httpx2.get(f"{url}/jobs").status_code == 200
        assert psutil.Process(pid).memory_info().rss < 160 << 20


def test_sigterm_ends_live_streams_and_the_process(sqlite_url: str, tmp_path: Path) -> None:
    settings = make_settings(sqlite_url, tmp_path)
    lines: list[str] = []
    received = threading.Event()

    def listen(url: str, job_id: str) -> None:
        with httpx2.stream("GET", f"{url}/jobs/{job_id}/events", timeout=600) as answer:
            for line in answer.iter_lines():
                lines.append(line)
                received.set()
        lines.append("complete")

    with api_process(settings, {"TTM_DATA_ROOTS": str(tmp_path)}) as (url, _):
        body = {"student": "resnet18", "dataset": tmp_path.as_uri(), "method": "ce"}
        job_id = httpx2.post(f"{url}/jobs", json=body).json()["id"]
        listener = threading.Thread(target=listen, args=(url, job_id))
        listener.start()
        assert received.wait(60)
    listener.join(60)
    assert lines[-1] == "complete"


def test_port_in_use_is_an_error(sqlite_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment = {"TTM_DATABASE_URL": sqlite_url, "TTM_PORT": str(taken.getsockname()[1]), "PATH": "/usr/bin"}
        ended = subprocess.run(
            [sys.executable, "-m", "api"], env=environment, capture_output=True, text=True, check=False
        )
    assert ended.returncode != 0
    assert "address already in use" in ended.stdout
