"""Compares the API, with an API key, with bare endpoints on the same server, database and machine.

    python -m bench.api --jobs 1000000 --postgresql --json build/api.json

Prints JSON. One client alternates between both sides over one loopback connection, so that other load slows both alike.
Ratios are ratios of medians.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, insert, text

from bench.api.server import Server, Service, process, service
from bench.api.streams import listeners
from bench.api.transfers import transfers
from ttm_jobs.database.engine import create_engine, session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.database.migrate import upgrade
from ttm_jobs.models import Job, JobTag, Metric
from ttm_jobs.repositories.jobs import crud

SPEC = {"student": "resnet18", "dataset": "file:///data", "method": "ce"}
_BATCH = 10_000


def fill(engine: Engine, count: int) -> str:
    """Creates jobs with values for every filter; returns the id of one."""
    with session_scope(engine) as session:
        job = crud.create(session, spec=SPEC, student="resnet18", dataset="file:///data", method="ce")
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
                "owner": f"owner {number % 20}",
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
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # A table just filled has neither statistics nor, on PostgreSQL, a map of what is visible to all.
        connection.execute(text("ANALYZE" if engine.dialect.name == "sqlite" else "VACUUM ANALYZE"))
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
    """The list queries by name."""
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
        "owner": "&owner=owner%207",
        "state and tag": "&state=failed&tag=tag7",
        "created": "&created_before=2020-01-01T00:10:00Z",
    }


def lists(options: argparse.Namespace, few: Service, many: Service) -> dict[str, dict[str, float]]:
    """Times each query with 1,000 and with many jobs, alternating."""
    small, large = queries(few.server), queries(many.server)
    found = {}
    for name in small:
        pairs = [
            (
                few.server.ask("GET", f"/jobs?limit=50{small[name]}"),
                many.server.ask("GET", f"/jobs?limit=50{large[name]}"),
            )
            for _ in range(options.requests // 5)
        ]
        at_few, at_many = (statistics.median(times) for times in zip(*pairs, strict=True))
        found[name] = {"at_1000_ms": at_few, f"at_{options.jobs}_ms": at_many, "ratio": at_many / at_few}
    return found


def measure(options: argparse.Namespace, folder: Path, databases: Callable[[str], str]) -> dict[str, object]:
    """All measurements on one kind of database."""
    urls = {count: databases(f"jobs_{count}") for count in (1000, options.jobs)}
    job_ids = {}
    for count, url in urls.items():
        upgrade(url)
        engine = create_engine(url)
        job_ids[count] = fill(engine, count)
        engine.dispose()
    with service(urls[1000], folder / "few") as few, service(urls[options.jobs], folder / "many") as many:
        results: dict[str, object] = {"lists": lists(options, few, many)}
        results |= against_bare(options, few.engine, few.url, few.server, job_ids[1000], folder / "few")
        results["listeners"] = listeners(few, SPEC, options.listeners)
        results["transfers"] = transfers(few, SPEC, options.megabytes, folder / "few")
    return results


def against_bare(
    options: argparse.Namespace, engine: Engine, url: str, ours: Server, job_id: str, folder: Path
) -> dict[str, object]:
    count = options.requests
    with process(["-m", "bench.api.bare", "--database-url", url], os.environ, {}) as bare:
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
    parser.add_argument("--jobs", type=int, default=100_000, help="number of jobs to compare with 1,000")
    parser.add_argument("--requests", type=int, default=600, help="of each kind")
    parser.add_argument("--listeners", type=int, default=500, help="to one job's events")
    parser.add_argument("--megabytes", type=int, default=1024, help="of the file that is sent and received")
    parser.add_argument("--postgresql", action="store_true", help="also on a PostgreSQL that is started for it")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        base = Path(folder)
        kinds: dict[str, Callable[[str], str]] = {"sqlite": lambda name: f"sqlite:///{base}/{name}.db"}
        if options.postgresql:
            from tests.support.servers import PostgresServer

            kinds["postgresql"] = stack.enter_context(PostgresServer()).create_database
        for kind, databases in kinds.items():
            for part in ("few", "many"):
                (base / kind / part).mkdir(parents=True)
            results[kind] = measure(options, base / kind, databases)
    print(json.dumps(results, indent=2))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
