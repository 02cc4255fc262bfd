"""Server processes for the API benchmark."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import Engine

from ttm_jobs.database.engine import create_engine, session_scope
from ttm_jobs.models import Scope
from ttm_jobs.repositories.access import keys

_IDLE_SECONDS = 3.0


class Server:
    """A connection to a server process."""

    def __init__(self, port: int, headers: Mapping[str, str], pid: int) -> None:
        self.port, self.headers = port, dict(headers)
        self.process = psutil.Process(pid)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._used = time.monotonic()

    def ask(self, method: str, path: str, body: str | None = None, expect: int = 200, **headers: str) -> float:
        """Milliseconds until the response is complete."""
        if time.monotonic() - self._used > _IDLE_SECONDS:
            # The server will have closed it; it is opened anew outside of what is measured.
            self._connection.close()
            self._connection.connect()
        started = time.perf_counter()
        self._connection.request(method, path, body, {**self.headers, **headers})
        answer = self._connection.getresponse()
        content = answer.read()
        self._used = time.monotonic()
        took = (time.perf_counter() - started) * 1000
        if answer.status != expect:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:500]!r}")
        self.etag = answer.headers.get("ETag", "")
        self.content = content
        return took


@contextmanager
def process(command: list[str], environment: Mapping[str, str], headers: Mapping[str, str]) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, fd = listener.getsockname()[1], listener.fileno()
        started = subprocess.Popen(
            [sys.executable, *command, "--fd", str(fd)], env=environment, pass_fds=[fd], stdout=subprocess.DEVNULL
        )
    try:
        yield Server(port, headers, started.pid)
    finally:
        started.terminate()
        started.wait()


@dataclass(frozen=True)
class Service:
    """An API over a database, with a key of scope admin."""

    server: Server
    engine: Engine
    url: str
    storage: Path


@contextmanager
def service(url: str, folder: Path) -> Iterator[Service]:
    """An API process with a migrated database."""
    engine = create_engine(url)
    with session_scope(engine) as session:
        secret = keys.create(session, project_id="default", name="bench", scope=Scope.ADMIN).secret
    environment = {
        **os.environ,
        "TTM_DATABASE_URL": url,
        "TTM_STORAGE_URL": f"file:{folder}/storage",
        # The bare endpoints have no limit either.
        "TTM_REQUESTS_PER_SECOND": "1e9",
        "TTM_PROJECT_MAX_QUEUED_JOBS": "none",
        "TTM_DATA_ROOTS": str(folder),
    }
    with process(["-m", "api"], environment, {"Authorization": f"Bearer {secret}"}) as server:
        yield Service(server, engine, url, folder / "storage")
    engine.dispose()
