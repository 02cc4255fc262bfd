"""Each log line of a process is a JSON object with the ids of its job and attempt."""

import json
from pathlib import Path
from typing import Any

from tests.support.stack import Stack
from ttm_jobs.broker.embedded import EmbeddedBroker
from ttm_jobs.states import JobState


def lines(path: Path) -> list[dict[str, Any]]:
    # Standard error goes to the same file: Celery's warning about root and its shutdown message.
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def test_log_lines_of_a_run_carry_its_ids(tmp_path: Path, postgresql_url: str, redis: EmbeddedBroker) -> None:
    with Stack(tmp_path, postgresql_url, redis) as stack:
        stack.start_dispatcher()
        stack.start_worker()
        job_id = stack.submit("steps=2")
        stack.wait_for(job_id, JobState.SUCCEEDED)
        [worker_id] = [attempt.worker_id for attempt in stack.attempts(job_id)]
        for process in stack.processes:
            process.terminate()
            process.wait(60)
        records = lines(tmp_path / "worker-1.log")
        lines(tmp_path / "dispatcher.log")
    [end] = [line for line in records if line.get("job_id") and "succeeded" in line["event"]]
    assert (end["job_id"], end["attempt"], end["worker_id"]) == (job_id, 1, worker_id)
    assert (end["level"], end["logger"]) == ("info", "worker.run.runner")
    assert any(line["logger"].startswith("celery") for line in records)
