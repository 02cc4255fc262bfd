"""Starts the API as a real HTTP server, in a thread or in a separate process."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx2

from api.app import create_app
from api.server.config import create_server
from api.server.connections import Limits
from ttm_jobs.processes import die_with_parent
from ttm_jobs.settings import Settings

LIMITS = Limits(total=500, per_address=250)


@contextmanager
def served(settings: Settings, port: int = 0, limits: Limits = LIMITS) -> Iterator[str]:
    """Runs the API in a thread and yields its URL."""
    # asyncio disables Nagle's algorithm only if the socket's protocol is IPPROTO_TCP. Otherwise a response takes 44 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = create_server(create_app(settings), settings, limits, grace_seconds=1)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield url
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def api_process(
    settings: Settings, environment: Mapping[str, str] | None = None, port: int = 0
) -> Iterator[tuple[str, int]]:
    """Runs `python -m api` and yields its URL and process id."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        fd = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "api", "--fd", str(fd)],
            env={
                **os.environ,
                "TTM_DATABASE_URL": settings.database_url,
                "TTM_STORAGE_URL": settings.storage_url,
                "TTM_BROKER_URL": settings.broker_url,
                **(environment or {}),
            },
            pass_fds=(fd,),
            stdout=subprocess.DEVNULL,
            preexec_fn=die_with_parent(),
        )
    try:
        wait_until_up(url, process)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


def wait_until_up(url: str, process: subprocess.Popen[bytes], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            httpx2.get(f"{url}/healthz", timeout=5)
            return
        except httpx2.TransportError:
            assert process.poll() is None, "the API exited"
            assert time.monotonic() < deadline, "the API did not start in time"
            time.sleep(0.02)
