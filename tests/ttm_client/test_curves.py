"""Data frames, progress bars, attempts, log and report of a job in the client."""

import io
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.runs import claim, fail, succeed, train
from ttm_client import Client, NotFound
from ttm_client.progress import ProgressLine
from ttm_jobs.database.engine import session_scope
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.storage import Storage


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_metrics_become_a_data_frame(client: Client, engine: Engine, job_id: str) -> None:
    train(engine, claim(engine, job_id), range(1, 6))
    metrics = client.jobs.metrics(job_id)
    assert [point.step for point in metrics] == [1, 2, 3, 4, 5]
    frame: Any = metrics.to_frame()
    assert list(frame.index) == [1, 2, 3, 4, 5]
    assert list(frame.columns) == ["epoch", "at", "train/loss", "validation/top1"]
    assert frame.loc[4, "train/loss"] == 0.25
    assert client.jobs.metrics(job_id, after_step=5).to_frame().empty


def test_attempts_log_and_report(client: Client, engine: Engine, storage: Storage, job_id: str) -> None:
    assert client.jobs.attempts(job_id) == ()
    with pytest.raises(NotFound):
        client.jobs.log(job_id)
    lease = claim(engine, job_id)
    (attempt,) = client.jobs.attempts(job_id)
    assert (attempt.number, attempt.worker, attempt.outcome) == (1, "worker-1", None)
    succeed(engine, storage, lease)
    assert client.jobs.log(job_id) == "step 1\n"
    # The fake run produced no report.
    with pytest.raises(NotFound):
        client.jobs.report(job_id)


def test_follow_log_across_attempts(
    client: Client, engine: Engine, storage: Storage, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = claim(engine, job_id)
    # The log at each poll, over two attempts. The second log grows as long as the first.
    polls = [b"", b"first " * 30 + b"\nsec", b"first " * 30 + b"\nsecond\n", b"other " * 40 + b"\n"]

    def print_more(_: float) -> None:
        if polls:
            file = storage.put(f"jobs/{job_id}/1/trainer.log", [polls.pop(0)])
            with session_scope(engine) as session:
                published = PublishedFile(
                    "trainer.log", f"jobs/{job_id}/1/trainer.log", "text/plain", file.size, file.sha256
                )
                artifacts.record(session, leases.fence(session, lease), [published])
        else:
            fail(engine, lease)

    monkeypatch.setattr("ttm_client.synchronous.logs.time.sleep", print_more)
    pieces = list(client.jobs.follow_log(job_id))
    assert pieces == ["first " * 30 + "\n", "second\n", "other " * 40 + "\n"]


def test_progress_bar_on_terminal_and_states_elsewhere(client: Client, engine: Engine, job_id: str) -> None:
    lease = claim(engine, job_id)
    train(engine, lease, range(1, 51))
    running = client.jobs.get(job_id)
    fail(engine, lease)
    failed = client.jobs.wait(job_id, 60)
    terminal, file = Terminal(), io.StringIO()
    for out in (terminal, file):
        line = ProgressLine(out)
        line(running)
        line(running)
        line(failed)
    assert "\r███████████████░░░░░░░░░░░░░░░  50%  training  50 s left  top-1 45.45%" in terminal.getvalue()
    assert file.getvalue() == "running\nfailed\n"
