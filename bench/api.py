"""How fast the API answers with a key, beside bare endpoints on the same server, database and machine.

    python -m bench.api --jobs 100000 --json var/bench/api.json

Prints JSON. One client asks over one connection on loopback, in turns of both sides, so that a busy machine slows both
alike; the ratios are of medians.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, insert, text

from ttm_jobs.database import create_engine, session_scope
from ttm_jobs.ids import new_id
from ttm_jobs.migrate import upgrade
from ttm_jobs.models import Job, JobTag, Metric, Scope
from ttm_jobs.repositories import jobs, keys

SPEC = {"student": "resnet18", "dataset": "file:///data", "method": "ce"}
_BATCH = 10_000
_IDLE_SECONDS = 3.0


class Server:
    """A connection to a server process."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = dict(headers)
        self._used = time.monotonic()

    def ask(self, method: str, path: str, body: str | None = None, expect: int = 200, **headers: str) -> float:
        """Milliseconds to the whole answer."""
        if time.monotonic() - self._used > _IDLE_SECONDS:
            # The server will have closed it; it is opened anew outside of what is measured.
            self._connection.close()
            self._connection.connect()
        started = time.perf_counter()
        self._connection.request(method, path, body, {**self._headers, **headers})
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
        yield Server(port, headers)
    finally:
        started.terminate()
        started.wait()


def fill(engine: Engine, count: int) -> str:
    """Jobs with every kind of word to filter by; returns the id of one."""
    with session_scope(engine) as session:
        job = jobs.create(session, spec=SPEC, student="resnet18", dataset="file:///data", method="ce")
        job_id = job.id
        row = {column.name: getattr(job, column.name) for column in Job.__table__.columns}
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    for first in range(0, count, _BATCH):
        numbers = range(first, min(first + _BATCH, count))
        rows = [
            {
                **row,
                "id": new_id(),
                "state": "failed" if number % 20 else "cancelled",
                "name": f"name {number % 20}",
                "teacher": f"upload:{number % 20}",
                "dataset": f"file:///{number % 20}",
                "created_at": begin + timedelta(seconds=number),
            }
            for number in numbers
        ]
        tags = [
            {"job_id": each["id"], "tag": f"tag{number % 20}", "created_at": each["created_at"]}
            for number, each in zip(numbers, rows, strict=True)
        ]
        with engine.begin() as connection:
            connection.execute(insert(Job.__table__), rows)
            connection.execute(insert(JobTag.__table__), tags)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    return job_id


def side_by_side(count: int, ours: Callable[[], float], bare: Callable[[], float]) -> dict[str, float]:
    pairs = [(ours(), bare()) for _ in range(count)]
    mine, theirs = zip(*pairs[count // 10 :], strict=True)
    return {
        "ours_ms": statistics.median(mine),
        "bare_ms": statistics.median(theirs),
        "ratio": statistics.median(theirs) / statistics.median(mine),
        "ours_p99_ms": statistics.quantiles(mine, n=100)[98],
    }


def queries(server: Server) -> dict[str, str]:
    """The queries of lists, each with what it shows."""
    cursor = ""
    for _ in range(9):
        server.ask("GET", f"/jobs?limit=50{cursor}")
        cursor = f"&cursor={json.loads(server.content)['next_cursor']}"
    return {
        "first page": "",
        "tenth page": cursor,
        "state": "&state=cancelled",
        "two states": "&state=cancelled&state=failed",
        "name": "&name=name%207",
        "tag": "&tag=tag7",
        "teacher": "&teacher=upload:7",
        "dataset": "&dataset=file:///7",
        "created": "&created_before=2020-01-01T00:10:00Z",
    }


@dataclass(frozen=True)
class Service:
    """An API with so many jobs."""

    server: Server
    engine: Engine
    url: str
    job_id: str


@contextmanager
def service(folder: Path, count: int) -> Iterator[Service]:
    url = f"sqlite:///{folder}/{count}.db"
    upgrade(url)
    engine = create_engine(url)
    job_id = fill(engine, count)
    with session_scope(engine) as session:
        secret = keys.create(session, project_id="default", name="bench", scope=Scope.ADMIN).secret
    environment = {
        **os.environ,
        "TTM_DATABASE_URL": url,
        "TTM_STORAGE_URL": f"file:{folder}/storage",
        "TTM_DATA_ROOTS": str(folder),
    }
    with process(["-m", "api"], environment, {"Authorization": f"Bearer {secret}"}) as server:
        yield Service(server, engine, url, job_id)
    engine.dispose()


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    with service(folder, 1000) as few, service(folder, options.jobs) as many:
        small, large = queries(few.server), queries(many.server)
        lists = {}
        for name in small:
            pairs = [
                (
                    few.server.ask("GET", f"/jobs?limit=50{small[name]}"),
                    many.server.ask("GET", f"/jobs?limit=50{large[name]}"),
                )
                for _ in range(options.requests // 10)
            ]
            at_few, at_many = (statistics.median(times) for times in zip(*pairs, strict=True))
            lists[name] = {"at_1000_ms": at_few, f"at_{options.jobs}_ms": at_many, "ratio": at_many / at_few}
        return {"lists": lists, **against_bare(options, few.engine, few.url, few.server, few.job_id, folder)}


def against_bare(
    options: argparse.Namespace, engine: Engine, url: str, ours: Server, job_id: str, folder: Path
) -> dict[str, object]:
    count = options.requests
    with process(["-m", "bench.bare_api", "--database-url", url], os.environ, {}) as bare:
        body = json.dumps({**SPEC, "dataset": folder.as_uri()})
        kind = {"Content-Type": "application/json"}
        bare.ask("POST", "/rows", body, 201, **kind)
        row, job = f"/rows/{job_id}", f"/jobs/{job_id}"
        ours.ask("GET", job)
        known = {"If-None-Match": ours.etag}
        read = lambda: bare.ask("GET", row)  # noqa: E731
        results: dict[str, object] = {
            "get": side_by_side(count, lambda: ours.ask("GET", job), read),
            "poll_304": side_by_side(count, lambda: ours.ask("GET", job, None, 304, **known), read),
            "post": side_by_side(
                count // 2,
                lambda: ours.ask("POST", "/jobs", body, 201, **kind),
                lambda: bare.ask("POST", "/rows", body, 201, **kind),
            ),
        }
    with engine.begin() as connection:
        rows = [
            {"job_id": job_id, "name": "train/loss", "step": step, "epoch": step / 1000, "value": 1 / step}
            for step in range(1, 100_001)
        ]
        connection.execute(insert(Metric.__table__), rows)
    curve = f"{job}/metrics?max_points=500&name=train/loss"
    results["metrics_100000_to_500_ms"] = statistics.median(ours.ask("GET", curve) for _ in range(15))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000, help="rows that lists are read from, beside 1,000")
    parser.add_argument("--requests", type=int, default=600, help="of each kind")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(options, Path(folder))
    print(json.dumps(results, indent=2))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
