"""Runs jobs on one worker with a real trainer process, on both databases."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import TracebackType

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tests.support.factories import NO_TIME, claimed, job_of, queued, spec, state_of
from tests.support.processes import children_of, command_of
from tests.support.rig import MakeRig, Rig
from tests.support.tiny import wait_until
from tests.support.tiny_trainer import weights_after
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import Attempt
from ttm_jobs.repositories import uploads
from ttm_jobs.repositories.access import projects
from ttm_jobs.repositories.jobs import control, crud, leases
from ttm_jobs.repositories.jobs.transitions import locked
from ttm_jobs.repositories.run_data import artifacts, events, metrics, recording
from ttm_jobs.states import JobState
from ttm_jobs.storage.local import LocalStorage
from worker.run import finalize

UNKNOWN_ID = "01a208f9-4f21-7689-b112-a58ab3238037"


def student_of(rig: Rig, job_id: str) -> str:
    with read_scope(rig.engine) as session:
        artifact = artifacts.get(session, job_id, artifacts.STUDENT)
    assert rig.storage.size(artifact.key) == artifact.size
    return rig.read(artifact.key).decode()


def attempts_of(engine: Engine, job_id: str) -> list[Attempt]:
    with read_scope(engine) as session:
        return list(crud.attempts(session, job_id))


def run_until(rig: Rig, job_id: str, state: JobState) -> None:
    """Runs the job until it is in `state`. Attempts are separated by a backoff."""

    def reached() -> bool:
        rig.run(job_id)
        return state_of(rig.engine, job_id) is state

    wait_until(reached)


def step_of(engine: Engine, job_id: str) -> int:
    return int((job_of(engine, job_id).progress or {}).get("step", 0))


def test_successful_job_publishes_its_student(rig: Rig, dataset: str) -> None:
    job_id = queued(rig.engine, spec=spec(name="steps=12", dataset=dataset))
    rig.run(job_id)
    job = job_of(rig.engine, job_id)
    assert job.state is JobState.SUCCEEDED, job.failure
    assert student_of(rig, job_id) == weights_after(12, "0")
    assert job.result is not None
    assert job.result["steps"] == 12
    assert "artifacts" not in job.result
    assert (job.resolved_spec or {})["training"]["threads"] == 1
    assert (job.progress or {})["step"] == 12
    # A run that takes longer also reports the use of the system.
    assert job.latest["train/loss"] == pytest.approx(1 / 12)
    assert rig.reported == [job_id, None]
    with read_scope(rig.engine) as session:
        assert [artifact.name for artifact in artifacts.of_job(session, job_id)] == [
            "report.json",
            "student.safetensors",
            "trainer.log",
        ]
        assert len(metrics.curve(session, job_id, "train/loss")) == 12
        phases = [event.data["phase"] for event in events.history(session, job_id) if event.kind == "phase"]
        assert phases == ["fetching", "loading_teacher", "training", "exporting"]
        log = rig.read(artifacts.get(session, job_id, "trainer.log").key)
        assert b"step 12 of 12" in log
        # The best checkpoint (5) and the last two.
        assert [row.step for row in recording.checkpoints(session, job_id)] == [10, 5]
    # Only recorded objects exist, and the work directory is deleted.
    assert sorted(key.rpartition("/")[2] for key in rig.storage.list()) == [
        "10",
        "5",
        "report.json",
        "student.safetensors",
        "trainer.log",
    ]
    assert list((rig.settings.work_dir / "attempts").iterdir()) == []


def test_user_error_fails_the_job_immediately_and_keeps_the_log(rig: Rig, dataset: str) -> None:
    job_id = queued(rig.engine, spec=spec(name="fail_at=3", dataset=dataset))
    rig.run(job_id)
    job = job_of(rig.engine, job_id)
    assert job.state is JobState.FAILED
    assert job.failure == {"code": "bad_dataset", "message": "No images.", "origin": "user", "retryable": False}
    assert job.attempt == 1
    with read_scope(rig.engine) as session:
        assert b"step 3 of" in rig.read(artifacts.get(session, job_id, "trainer.log").key)


def test_infrastructure_error_is_retried_until_attempts_are_exhausted(rig: Rig, dataset: str) -> None:
    job_id = queued(rig.engine, spec=spec(name="fail_at=3 fail_origin=system", dataset=dataset), max_attempts=2)
    rig.run(job_id)
    assert state_of(rig.engine, job_id) is JobState.QUEUED
    run_until(rig, job_id, JobState.FAILED)
    job = job_of(rig.engine, job_id)
    assert job.state is JobState.FAILED
    assert (job.failure or {})["origin"] == "system"
    assert [attempt.outcome for attempt in attempts_of(rig.engine, job_id)] == ["error", "error"]
    with read_scope(rig.engine) as session:
        keys = [artifact.key for artifact in artifacts.of_job(session, job_id)]
    assert list(rig.storage.list()) == keys, "the log of the first attempt is replaced"


def test_job_of_a_crashed_trainer_resumes_from_its_checkpoint_on_another_worker(
    make_rig: MakeRig, dataset: str
) -> None:
    first, second = make_rig(), make_rig()
    job_id = queued(first.engine, spec=spec(name="steps=20 die_at=13", dataset=dataset))
    first.run(job_id)
    assert state_of(first.engine, job_id) is JobState.QUEUED
    [attempt] = attempts_of(first.engine, job_id)
    assert (attempt.outcome, attempt.code) == ("error", "trainer_died")
    assert "SIGKILL" in (attempt.message or "")
    # The second run has no crash option, as if the first machine had caused the crash.
    with session_scope(first.engine) as session:
        job = crud.get(session, job_id)
        assert job.resolved_spec is not None
        job.resolved_spec = {**job.resolved_spec, "name": "steps=20"}
    second.run(job_id)
    job = job_of(first.engine, job_id)
    assert job.state is JobState.SUCCEEDED, job.failure
    assert job.attempt == 2
    assert student_of(second, job_id) == weights_after(20, "0")
    with read_scope(first.engine) as session:
        [*_, resolved] = (event for event in events.after(session, job_id, 0) if event.kind == "resolved")
        assert resolved.data["resumed_from_step"] == 10
        assert len(metrics.curve(session, job_id, "train/loss")) == 20


def test_damaged_checkpoint_falls_back_to_the_previous_one(make_rig: MakeRig, dataset: str) -> None:
    rig = make_rig()
    job_id = queued(rig.engine, spec=spec(name="steps=20 die_at=13", dataset=dataset))
    rig.run(job_id)
    with session_scope(rig.engine) as session:
        newest, older = recording.checkpoints(session, job_id)
        job = crud.get(session, job_id)
        job.resolved_spec = {**(job.resolved_spec or {}), "name": "steps=20"}
    rig.storage.put(newest.key, iter([b"damaged"]))
    rig.run(job_id)
    assert student_of(rig, job_id) == weights_after(20, "0")
    with read_scope(rig.engine) as session:
        [*_, resolved] = (event for event in events.after(session, job_id, 0) if event.kind == "resolved")
        assert resolved.data["resumed_from_step"] == older.step == 5


def test_poison_job_fails_after_its_maximum_attempts(rig: Rig, dataset: str) -> None:
    job_id = queued(rig.engine, spec=spec(name="die_at=0", dataset=dataset), max_attempts=3)
    run_until(rig, job_id, JobState.FAILED)
    assert len(attempts_of(rig.engine, job_id)) == 3


@pytest.mark.parametrize(
    ("request_stop", "state"), [(control.request_cancel, JobState.CANCELLED), (control.request_pause, JobState.PAUSED)]
)
def test_stop_request_reaches_the_trainer_which_saves_and_exits(
    rig: Rig, dataset: str, request_stop: object, state: JobState
) -> None:
    job_id = queued(rig.engine, spec=spec(name="steps=1000 step_seconds=0.02 checkpoint_every=999", dataset=dataset))
    thread = rig.start(job_id)
    wait_until(lambda: step_of(rig.engine, job_id) > 3)
    with session_scope(rig.engine) as session:
        request_stop(session, job_id)  # type: ignore[operator]
    thread.join(100)
    assert not thread.is_alive()
    job = job_of(rig.engine, job_id)
    assert (job.state, job.attempt) == (state, 1)
    with read_scope(rig.engine) as session:
        [saved] = recording.checkpoints(session, job_id)
        assert saved.step >= 4


@pytest.mark.parametrize("what", ["checkpoint", "teacher"])
def test_stop_request_interrupts_input_fetches(
    rig: Rig, dataset: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = spec(name="steps=20 die_at=8", dataset=dataset)
    if what == "teacher":
        with session_scope(rig.engine) as session:
            upload = uploads.create(session, filename="teacher.safetensors", media_type="x/y")
            session.flush()
            uploads.complete(session, upload.id, size=1, sha256="0" * 64)
            body["teacher"], body["method"] = f"upload:{upload.id}", "kd"
    job_id = queued(rig.engine, spec=body)
    if what == "checkpoint":
        rig.run(job_id)
        with session_scope(rig.engine) as session:
            crud.get(session, job_id).not_before = None
    fetching = Event()

    def endless(key: str, *part: int) -> Iterator[bytes]:
        while True:
            fetching.set()
            time.sleep(0.01)
            yield b"x"

    monkeypatch.setattr(rig.storage, "open", endless)
    thread = rig.start(job_id)
    assert fetching.wait(60)
    with session_scope(rig.engine) as session:
        control.request_cancel(session, job_id)
    thread.join(100)
    assert not thread.is_alive()
    assert state_of(rig.engine, job_id) is JobState.CANCELLED


def test_paused_and_resumed_job_has_the_uninterrupted_student(rig: Rig, dataset: str) -> None:
    job_id = queued(rig.engine, spec=spec(name="steps=100 step_seconds=0.02 checkpoint_every=999", dataset=dataset))
    thread = rig.start(job_id)
    wait_until(lambda: step_of(rig.engine, job_id) > 3)
    with session_scope(rig.engine) as session:
        control.request_pause(session, job_id)
    thread.join(100)
    with session_scope(rig.engine) as session:
        control.resume(session, job_id)
    rig.run(job_id)
    assert student_of(rig, job_id) == weights_after(100, "0")
    assert job_of(rig.engine, job_id).attempt == 1


def test_draining_worker_releases_its_job_and_claims_no_other(make_rig: MakeRig, dataset: str) -> None:
    leaving, staying = make_rig(), make_rig()
    job_id = queued(leaving.engine, spec=spec(name="steps=60 step_seconds=0.02", dataset=dataset), max_attempts=1)
    other = queued(leaving.engine, spec=spec(name="steps=1", dataset=dataset))
    thread = leaving.start(job_id)
    wait_until(lambda: step_of(leaving.engine, job_id) > 3)
    leaving.draining.set()
    thread.join(100)
    assert (job_of(leaving.engine, job_id).state, job_of(leaving.engine, job_id).attempt) == (JobState.QUEUED, 1)
    leaving.run(other)
    assert state_of(leaving.engine, other) is JobState.QUEUED
    staying.run(job_id)
    assert student_of(staying, job_id) == weights_after(60, "0")
    assert [attempt.outcome for attempt in attempts_of(staying.engine, job_id)] == ["released", "succeeded"]


def test_trainer_that_ignores_a_stop_request_is_killed_after_the_grace_period(make_rig: MakeRig, dataset: str) -> None:
    rig = make_rig(stop_grace_seconds=0.3)
    job_id = queued(rig.engine, spec=spec(name="steps=9999 step_seconds=0.02 ignore_sigterm=1", dataset=dataset))
    thread = rig.start(job_id)
    wait_until(lambda: step_of(rig.engine, job_id) > 3)
    with session_scope(rig.engine) as session:
        control.request_cancel(session, job_id)
    thread.join(100)
    assert state_of(rig.engine, job_id) is JobState.CANCELLED


def test_hanging_trainer_is_detected_while_its_worker_runs(make_rig: MakeRig, dataset: str) -> None:
    rig = make_rig(progress_timeout_seconds=1.5)
    job_id = queued(rig.engine, spec=spec(name="hang_at=3", dataset=dataset), max_attempts=1)
    rig.run(job_id)
    job = job_of(rig.engine, job_id)
    assert (job.state, (job.failure or {})["code"]) == (JobState.FAILED, "trainer_stalled")


class SlowStorage(LocalStorage):
    """A storage that takes four seconds per listing."""

    def list(self, prefix: str = "") -> Iterator[str]:
        time.sleep(4)
        return super().list(prefix)


def test_trainer_that_waits_for_a_teacher_store_is_not_stalled(
    make_rig: MakeRig, engine: Engine, dataset: str, tmp_path: Path
) -> None:
    program = tmp_path / "waits.py"
    program.write_text(
        "import json, os, sys, time\n"
        "from pathlib import Path\n"
        "answers = Path(json.loads((Path(sys.argv[1]) / 'run.json').read_text())['stores']['answers'])\n"
        "events = os.fdopen(int(sys.argv[3]), 'w')\n"
        "digest = 'a' * 64\n"
        "print(json.dumps({'kind': 'store_requested', 'digest': digest}), file=events, flush=True)\n"
        "while not (answers / digest).exists():\n"
        "    time.sleep(0.05)\n"
        "sys.exit(9)\n"
    )
    rig = make_rig((sys.executable, str(program)), progress_timeout_seconds=2.0, shared_store_max_bytes=2**30)
    rig = Rig(rig.settings, engine, SlowStorage(tmp_path / "slow"), rig.trainer_command)
    job_id = queued(engine, spec=spec(dataset=dataset), max_attempts=1)
    rig.run(job_id)
    assert (job_of(engine, job_id).failure or {})["code"] == "trainer_died"


def test_worker_without_lease_kills_its_trainer_and_changes_nothing(make_rig: MakeRig, dataset: str) -> None:
    rig = make_rig()
    job_id = queued(rig.engine, spec=spec(name="steps=9999 step_seconds=0.02", dataset=dataset))
    thread = rig.start(job_id)
    wait_until(lambda: step_of(rig.engine, job_id) > 6)
    with session_scope(rig.engine) as session:
        locked(session, job_id).lease_until = now(session)
        assert [job.id for job in leases.expire(session, backoff=NO_TIME)] == [job_id]
    new = claimed(rig.engine, job_id, "another")
    before = job_of(rig.engine, job_id)
    thread.join(100)
    assert not thread.is_alive()
    after = job_of(rig.engine, job_id)
    assert (after.version, after.lease_owner, after.lease_epoch) == (before.version, "another", new.epoch)
    assert not any("/trainer.log" in key or "/student" in key for key in rig.storage.list())


def test_repeated_wake_up_messages_to_two_workers_start_one_attempt(make_rig: MakeRig, dataset: str) -> None:
    job_id = queued(make_rig().engine, spec=spec(name="steps=10", dataset=dataset))
    rigs = [make_rig(), make_rig()]
    threads = [rig.start(job_id) for rig in rigs for _ in range(10)]
    for thread in threads:
        thread.join(60)
    assert len(attempts_of(rigs[0].engine, job_id)) == 1
    assert student_of(rigs[0], job_id) == weights_after(10, "0")


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        (f"upload:{UNKNOWN_ID}", "upload_not_found"),
        (f"job:{UNKNOWN_ID}", "job_not_found"),
        ("file:///etc", "uri_not_allowed"),
        ("http://example.com/data.tar", "uri_not_allowed"),
    ],
)
def test_unreadable_uri_is_a_user_error(rig: Rig, uri: str, code: str) -> None:
    job_id = queued(rig.engine, spec=spec(name="x", dataset=uri))
    rig.run(job_id)
    job = job_of(rig.engine, job_id)
    assert job.state is JobState.FAILED
    assert ((job.failure or {})["code"], (job.failure or {})["origin"]) == (code, "user")


def test_trainer_that_cannot_start_is_an_infrastructure_error(make_rig: MakeRig, dataset: str) -> None:
    rig = make_rig(trainer_command=["/no/such/program"])
    job_id = queued(rig.engine, spec=spec(name="x", dataset=dataset), max_attempts=1)
    rig.run(job_id)
    assert (job_of(rig.engine, job_id).failure or {})["code"] == "worker_error"


def test_trainer_sees_no_secrets_of_the_service(
    make_rig: MakeRig, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTM_DATABASE_URL", "postgresql://u:hunter2@db/ttm")
    for name in (
        "AWS_SECRET_ACCESS_KEY",
        "AZURE_CLIENT_ID",
        "GOOGLE_SERVICE_ACCOUNT",
        "DATABASE_URL",
        "PGPASSWORD",
        "REDIS_URL",
        "CELERY_BROKER_URL",
        "HF_TOKEN",
    ):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    program = tmp_path / "show.py"
    program.write_text("import json, os, sys; print(json.dumps(dict(os.environ))); sys.exit(9)")
    rig = make_rig(trainer_command=[sys.executable, str(program)])
    job_id = queued(rig.engine, spec=spec(name="x", dataset=dataset), max_attempts=1)
    rig.run(job_id)
    with read_scope(rig.engine) as session:
        environment = json.loads(rig.read(artifacts.get(session, job_id, "trainer.log").key))
    assert "hunter2" not in str(environment)
    assert environment["OMP_NUM_THREADS"] == "1"
    assert {name for name in environment if name.startswith("TTM_")} == {
        "TTM_TRAINER_OF",
        "TTM_READER_MEMORY_BYTES",
        "TTM_READER_SECONDS",
    }
    assert (job_of(rig.engine, job_id).failure or {})["message"].startswith("The trainer exited with status 9")


def test_job_succeeds_if_the_trainer_finishes_but_does_not_exit(make_rig: MakeRig, dataset: str) -> None:
    rig = make_rig(stop_grace_seconds=0.3)
    job_id = queued(rig.engine, spec=spec(name="steps=3 stay=1", dataset=dataset))
    rig.run(job_id)
    assert student_of(rig, job_id) == weights_after(3, "0")


def test_trainer_stopped_from_outside_is_retried(rig: Rig, dataset: str) -> None:
    job_id = queued(rig.engine, spec=spec(name="steps=9999 step_seconds=0.02", dataset=dataset))
    thread = rig.start(job_id)
    wait_until(lambda: step_of(rig.engine, job_id) > 3)
    [trainer] = (
        pid for pid in children_of(os.getpid()) if os.getpgid(pid) == pid and b"tiny_trainer" in command_of(pid)
    )
    os.kill(trainer, signal.SIGTERM)
    thread.join(100)
    assert state_of(rig.engine, job_id) is JobState.QUEUED
    [attempt] = attempts_of(rig.engine, job_id)
    assert (attempt.outcome, attempt.code) == ("error", "trainer_stopped")


def test_finished_run_without_a_student_fails(rig: Rig, dataset: str) -> None:
    job_id = queued(rig.engine, spec=spec(name="steps=1 no_student=1", dataset=dataset), max_attempts=1)
    rig.run(job_id)
    assert (job_of(rig.engine, job_id).failure or {})["code"] == "publish_failed"


def test_student_is_kept_if_the_final_commit_response_is_lost(
    rig: Rig, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CommitResponseLost:
        """Commits, then raises as if the commit had failed."""

        def __init__(self, engine: Engine) -> None:
            self.scope = session_scope(engine)

        def __enter__(self) -> Session:
            return self.scope.__enter__()

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            self.scope.__exit__(kind, error, trace)
            if kind is None:
                raise OperationalError("COMMIT", {}, ConnectionResetError())

    job_id = queued(rig.engine, spec=spec(name="steps=3", dataset=dataset))
    monkeypatch.setattr(finalize, "session_scope", CommitResponseLost)
    rig.run(job_id)
    assert state_of(rig.engine, job_id) is JobState.SUCCEEDED
    assert student_of(rig, job_id) == weights_after(3, "0")


def test_job_of_a_project_that_was_restricted_since_fails(rig: Rig, dataset: str) -> None:
    own = Path(dataset.removeprefix("file://"), "own")
    own.mkdir()
    with session_scope(rig.engine) as session:
        projects.ensure(session, "b").sources = {"data_roots": [str(own)], "origins": [], "buckets": []}
    theirs = bound_to(rig.engine, "b")
    outside, inside = queued(theirs, spec=spec(dataset=dataset)), queued(theirs, spec=spec(dataset=own.as_uri()))
    for _ in range(2):
        rig.run(outside)
    failure = job_of(rig.engine, outside).failure
    assert failure is not None
    assert (failure["code"], failure["origin"]) == ("uri_not_allowed", "user")
    assert "ttm projects restrict" in failure["message"]
    assert state_of(rig.engine, inside) is JobState.SUCCEEDED
