"""Throughput of large uploads and downloads compared with plain file servers, and the memory of the process."""

import base64
import http.client
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.api.server import Server, Service, process
from ttm_jobs.database.engine import session_scope
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.storage.local import LocalStorage

_BLOCK = 1 << 20
_PART = 64 << 20
_TURNS = 5
_NAME = "large.bin"


def transfers(service: Service, spec: dict[str, object], megabytes: int, folder: Path) -> dict[str, object]:
    """MB/s and MiB; the ratio is to the faster of the two plain servers."""
    path = _artifact(service, spec, megabytes)
    served = ["--files", str(folder)]
    with (
        process(["-m", "bench.api.bare", "--database-url", service.url, *served], os.environ, {}) as bare,
        process(["-m", "bench.api.plain_files", *served], os.environ, {}) as plain,
    ):
        turns = [
            (
                _download(service.server, path),
                _download(bare, f"/files/{_NAME}"),
                _download(plain, f"/{_NAME}"),
            )
            for _ in range(_TURNS)
        ]
        ours, starlette, stdlib = (statistics.median(speeds) for speeds in zip(*turns, strict=True))
    with _growth(service.server) as growth:
        _download(service.server, path)
    down = growth()
    with _growth(service.server) as growth:
        raw = _upload(service.server, megabytes)
    up = growth()
    with _growth(service.server) as growth:
        parts = _upload_in_parts(service.server, megabytes)
    in_parts = growth()
    return {
        "megabytes": megabytes,
        "download_mb_s": ours,
        "starlette_static_files_mb_s": starlette,
        "python_http_server_mb_s": stdlib,
        "download_ratio": ours / max(starlette, stdlib),
        "download_growth_mib": down,
        "upload_mb_s": raw,
        "upload_growth_mib": up,
        "upload_in_parts_mb_s": parts,
        "upload_in_parts_growth_mib": in_parts,
    }


def _artifact(service: Service, spec: dict[str, object], megabytes: int) -> str:
    """The path of a job's artifact; the plain servers serve the same file."""
    with session_scope(service.engine) as session:
        job = crud.create(session, spec=spec, student="resnet18", dataset="file:///data", method="ce")
        key = f"jobs/{job.id}/1/{_NAME}"
        block = os.urandom(_BLOCK)
        stored = LocalStorage(service.storage).put(key, (block for _ in range(megabytes)))
        kind = "application/octet-stream"
        artifacts.record(session, job, [PublishedFile(_NAME, key, kind, stored.size, stored.sha256)])
    (service.storage.parent / _NAME).unlink(missing_ok=True)
    os.link(service.storage / key, service.storage.parent / _NAME)
    return f"/jobs/{job.id}/artifacts/{_NAME}"


def _download(server: Server, path: str) -> float:
    """MB/s of a complete download."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    received = 0
    buffer = memoryview(bytearray(_BLOCK))
    started = time.perf_counter()
    connection.request("GET", path, headers=server.headers)
    answer = connection.getresponse()
    while count := answer.readinto(buffer):
        received += count
    took = time.perf_counter() - started
    connection.close()
    if answer.status != 200:
        sys.exit(f"GET {path}: {answer.status}")
    return received / 1e6 / took


def _upload(server: Server, megabytes: int) -> float:
    """MB/s of an upload in one request."""
    block = os.urandom(_BLOCK)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    started = time.perf_counter()
    headers = {**server.headers, "Content-Length": str(megabytes << 20)}
    connection.request("POST", "/uploads", (block for _ in range(megabytes)), headers)
    _expect(connection, 201)
    return (megabytes << 20) / 1e6 / (time.perf_counter() - started)


def _upload_in_parts(server: Server, megabytes: int) -> float:
    """MB/s of a tus upload with 64 MiB per request."""
    part = os.urandom(_PART)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    length = (megabytes << 20) // _PART * _PART
    started = time.perf_counter()
    about = base64.b64encode(b"large.bin").decode()
    tus = {**server.headers, "Tus-Resumable": "1.0.0"}
    connection.request(
        "POST", "/uploads", headers={**tus, "Upload-Length": str(length), "Upload-Metadata": f"filename {about}"}
    )
    path = _expect(connection, 201).headers["Location"]
    for offset in range(0, length, _PART):
        kind = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        connection.request("PATCH", path, part, {**tus, **kind})
        _expect(connection, 204)
    return length / 1e6 / (time.perf_counter() - started)


def _expect(connection: http.client.HTTPConnection, status: int) -> http.client.HTTPResponse:
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != status:
        sys.exit(f"{answer.status} {content[:300]!r}")
    return answer


@contextmanager
def _growth(server: Server) -> Iterator[Callable[[], float]]:
    """MiB of growth of the process at its peak."""
    before = server.process.memory_info().rss
    peak = before
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, server.process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: (peak - before) / 2**20
    finally:
        done.set()
        watcher.join()
