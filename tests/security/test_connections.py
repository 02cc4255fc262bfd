"""Clients that hold connections, send slowly or do not read: the service closes them and answers others."""

import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from api.server.connections import Limits
from tests.api.conftest import make_settings
from tests.support.api_server import served, wait_until_up
from tests.support.tiny import wait_until
from ttm_jobs.database.engine import create_engine, session_scope
from ttm_jobs.models import Scope
from ttm_jobs.repositories.access import keys, projects
from ttm_jobs.settings import Settings

SOON = Limits(total=40, per_address=20, header_seconds=1.0, write_seconds=1.0)


@pytest.fixture
def settings(sqlite_url: str, tmp_path: Path) -> Settings:
    return make_settings(sqlite_url, tmp_path)


def connect(url: str, source: str = "127.0.0.1") -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "", address.port or 0), 30, source_address=(source, 0))


def is_closed(connection: socket.socket) -> bool:
    """Whether the server closes the connection within ten seconds."""
    connection.settimeout(10)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def everything(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    connection.settimeout(20)
    answer = b""
    while chunk := connection.recv(1 << 16):
        answer += chunk
    return answer


def is_alive(url: str, source: str = "127.0.0.1") -> bool:
    with connect(url, source) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        try:
            return connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        except ConnectionError:
            return False


@contextmanager
def limited_process(settings: Settings, files: int, log: Path) -> Iterator[str]:
    """`python -m api` with a limit of open files, logging to a file."""
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        fd = listener.fileno()
        process = subprocess.Popen(
            ["bash", "-c", f'ulimit -n {files}; exec "$0" -m api --fd {fd}', sys.executable],
            env={
                "TTM_DATABASE_URL": settings.database_url,
                "TTM_STORAGE_URL": settings.storage_url,
                "PATH": "/usr/bin",
            },
            pass_fds=(fd,),
            stdout=output,
            stderr=output,
        )
    try:
        wait_until_up(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(15)


def test_idle_connections_beyond_the_limit_of_open_files(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    with limited_process(settings, 256, log) as url, ExitStack() as stack:
        idle = [stack.enter_context(connect(url)) for _ in range(300)]
        for _ in range(5):
            assert is_alive(url)
            assert is_alive(url, "127.0.0.2")
        # Each of them is closed, none of them having sent a byte.
        assert all(is_closed(connection) for connection in idle[:20])
        wait_until(lambda: is_closed(idle[-1]))
        assert httpx2.get(f"{url}/jobs").status_code == 200
    assert log.stat().st_size < 1 << 20


def test_headers_that_never_end(settings: Settings) -> None:
    with served(settings, limits=SOON) as url, ExitStack() as stack:
        slow = [stack.enter_context(connect(url)) for _ in range(15)]
        for connection in slow:
            connection.sendall(b"GET /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.2):
                for connection in slow:
                    with suppress(OSError):
                        connection.sendall(b"X-A: a\r\n")

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        assert is_alive(url)
        assert all(is_closed(connection) for connection in slow)
        stop.set()
        thread.join()


def test_connections_of_one_address_leave_room_for_others(settings: Settings) -> None:
    patient = Limits(total=40, per_address=20, header_seconds=600, write_seconds=600)
    with served(settings, limits=patient) as url, ExitStack() as stack:
        first = [stack.enter_context(connect(url)) for _ in range(20)]
        # A further connection replaces the oldest idle one.
        assert is_alive(url)
        assert is_closed(first[0])
        for number in range(3, 6):
            for _ in range(20):
                stack.enter_context(connect(url, f"127.0.0.{number}"))
        assert is_alive(url, "127.0.0.9")
        assert is_alive(url)


def test_a_client_that_does_not_read_is_disconnected(settings: Settings) -> None:
    with served(settings, limits=SOON) as url:
        with connect(url) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            request = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

            def send() -> None:
                # Pipelined requests fill the buffers in both directions.
                for _ in range(2000):
                    connection.sendall(request)
                    time.sleep(0.005)

            with pytest.raises(OSError):  # noqa: PT011 - a reset or a broken pipe
                send()
        assert is_alive(url)


def test_a_body_that_stops(settings: Settings) -> None:
    hasty = settings.model_copy(update={"body_timeout_seconds": 1.0})
    with served(hasty) as url, ExitStack() as stack:
        for head in (
            "POST /jobs HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 100",
            "POST /uploads HTTP/1.1\r\nContent-Length: 100",
            "POST /uploads HTTP/1.1\r\nContent-Length: 3000000",
            "PUT /uploads/f HTTP/1.1\r\nTransfer-Encoding: chunked",
        ):
            connection = stack.enter_context(connect(url))
            body = b"5\r\n{    " if "chunked" in head else b"{" * min(1_200_000, int(head.rpartition(" ")[2]) // 2)
            connection.sendall(head.encode() + b"\r\nHost: 127.0.0.1\r\n\r\n" + body)
            answer = everything(connection)
            assert answer.startswith(b"HTTP/1.1 408"), (head, answer)
            assert b"request_timeout" in answer
        assert httpx2.get(f"{url}/uploads").json()["items"] == []


def test_a_resumable_upload_that_stops_keeps_its_bytes(settings: Settings) -> None:
    hasty = settings.model_copy(update={"body_timeout_seconds": 1.0})
    tus = {"Tus-Resumable": "1.0.0"}
    with served(hasty) as url:
        path = httpx2.post(f"{url}/uploads", headers={**tus, "Upload-Length": "3000000"}).headers["location"]
        with connect(url) as connection:
            head = (
                f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
                "Content-Type: application/offset+octet-stream\r\nContent-Length: 3000000\r\n\r\n"
            )
            connection.sendall(head.encode() + bytes(1_200_000))
            connection.settimeout(20)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408")
        assert httpx2.head(url + path, headers=tus).headers["upload-offset"] == "1200000"


def key_of(settings: Settings, project: str) -> dict[str, str]:
    engine = create_engine(settings.database_url)
    with session_scope(engine) as session:
        projects.ensure(session, project)
        secret = keys.create(session, project_id=project, name="test", scope=Scope.ADMIN).secret
    engine.dispose()
    return {"Authorization": f"Bearer {secret}"}


def test_stalled_uploads_of_one_project_leave_slots_for_others(settings: Settings) -> None:
    greedy, modest = key_of(settings, "greedy"), key_of(settings, "modest")
    with served(settings) as url, ExitStack() as stack:
        stalled = []
        for _ in range(40):
            connection = stack.enter_context(connect(url))
            head = f"POST /uploads HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {greedy['Authorization']}\r\n"
            connection.sendall(head.encode() + b"Content-Length: 3000000\r\n\r\n" + bytes(1_200_000))
            stalled.append(connection)
        answered: set[socket.socket] = set()

        def count() -> int:
            answered.update(select.select(stalled, [], [], 0)[0])
            return len(answered)

        wait_until(lambda: count() == 24)
        assert all(connection.recv(1 << 16).startswith(b"HTTP/1.1 429") for connection in answered)
        answer = httpx2.post(f"{url}/uploads", content=b"x", headers=greedy)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_uploads")
        assert int(answer.headers["retry-after"]) > 0
        for _ in range(3):
            assert httpx2.post(f"{url}/uploads", content=b"x", headers=modest).status_code == 201
        assert httpx2.get(f"{url}/jobs", headers=greedy).status_code == 200
    assert json.loads(answer.content)["status"] == 429


def test_a_body_with_a_hundred_thousand_errors(settings: Settings) -> None:
    body = {
        "student": {"architecture": "resnet18"},
        "dataset": "file:///data",
        "teacher": {"checkpoint": "upload:x", "class_map": [0.5] * 100_000},
    }
    content = json.dumps(body).encode()
    with served(settings) as url:
        headers = {"Content-Type": "application/json"}
        answer = httpx2.post(f"{url}/jobs", content=content, headers=headers, timeout=60)
        problem = answer.json()
        assert (answer.status_code, len(problem["errors"])) == (422, 20)
        assert problem["more_errors"] == 100_000 - 20
        assert "(99999 more errors.)" in problem["detail"]
        assert len(answer.content) < 10_000
        # The first errors are far behind the beginning.
        body["teacher"] = {"checkpoint": "upload:x", "class_map": [0] * 200 + [0.5] * 1000}
        late = httpx2.post(f"{url}/jobs", json={**body, "name": "x" * 200, "tags": ["a" * 60] * 300}, timeout=60)
        assert (late.status_code, late.json()["code"]) == (422, "invalid_request")
        small = httpx2.post(f"{url}/jobs", json={"student": 1}).json()
        assert "more_errors" not in small
