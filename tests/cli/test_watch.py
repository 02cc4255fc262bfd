"""`ttm watch` across a restart of the service."""

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


def test_watch_survives_service_restart(sqlite_url: str, tmp_path: Path) -> None:
    settings = make_settings(sqlite_url, tmp_path)
    engine: Engine = create_engine(settings.database_url)
    job_id, port, output = queued(engine), free_port(), tmp_path / "events.jsonl"
    lease = claim(engine, job_id)
    with output.open("wb") as out:
        with api_process(settings, port=port) as (url, _):
            watch = subprocess.Popen(
                [sys.executable, "-m", "ttm_client.cli.main", "watch", job_id, "--json"],
                env={**ENVIRONMENT, "TTM_URL": url},
                stdout=out,
            )
            train(engine, lease, range(1, 4))
            wait_until(lambda: '"step": 3' in output.read_text())
        # The API is down while the run continues.
        train(engine, lease, range(4, 7))
        with api_process(settings, port=port):
            train(engine, lease, range(7, 9))
            succeed(engine, build_storage(settings.storage_url), lease)
            assert watch.wait(60) == 0
    engine.dispose()
    events = [json.loads(line) for line in output.read_text().splitlines()]
    assert [event["data"]["step"] for event in events if event["kind"] == "metrics"] == list(range(1, 9))
    assert events[-1]["data"]["state"] == "succeeded"
