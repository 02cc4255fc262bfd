"""`ttm watch` and a service that is stopped and started under it."""

import json
import subprocess
import sys
from pathlib import Path

from sqlalchemy import Engine

from tests.api.conftest import make_settings
from tests.cli.conftest import ENVIRONMENT
from tests.support.api_server import api_process
from tests.support.factories import queued
from tests.support.runs import claim, succeed, train
from tests.support.tiny import wait_until
from ttm_jobs.broker.embedded import free_port
from ttm_jobs.database.engine import create_engine
from ttm_jobs.storage import build_storage


def test_a_watch_outlives_the_service(sqlite_url: str, tmp_path: Path) -> None:
    settings = make_settings(sqlite_url, tmp_path)
    engine: Engine = create_engine(settings.database_url)
    job_id, port, told = queued(engine), free_port(), tmp_path / "told.jsonl"
    lease = claim(engine, job_id)
    with told.open("wb") as out:
        with api_process(settings, port=port) as (url, _):
            watch = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "watch", job_id, "--json"],
                env={**ENVIRONMENT, "TTM_URL": url},
                stdout=out,
            )
            train(engine, lease, range(1, 4))
            wait_until(lambda: '"step": 3' in told.read_text())
        # Nobody answers now, and the run goes on.
        train(engine, lease, range(4, 7))
        with api_process(settings, port=port):
            train(engine, lease, range(7, 9))
            succeed(engine, build_storage(settings.storage_url), lease)
            assert watch.wait(30) == 0
    engine.dispose()
    events = [json.loads(line) for line in told.read_text().splitlines()]
    assert [event["data"]["step"] for event in events if event["kind"] == "metrics"] == list(range(1, 9))
    assert events[-1]["data"]["state"] == "succeeded"
