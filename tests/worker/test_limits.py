"""The trainer's memory and time limits, and the job's deadline."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from sqlalchemy import update

from tests.support.factories import job_of, queued, spec, state_of
from tests.support.rig import MakeRig, Rig
from tests.support.tiny import wait_until
from tests.support.tiny_trainer import weights_after
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from worker.run.outcomes import Broken, Rejected, outcome_of
from worker.trainer import resources

MIB = 1024**2
HOLDER = "import sys; held = bytearray({0}); held[::4096] = bytes([1]) * len(held[::4096]); print(flush=True); input()"


@pytest.fixture
def group() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes of one group. Each holds 60 MiB."""
    first = subprocess.Popen([sys.executable, "-c", HOLDER.format(60 * MIB)], stdin=-1, stdout=-1, process_group=0)
    second = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(60 * MIB)], stdin=-1, stdout=-1, process_group=first.pid
    )
    for process in (first, second):
        assert process.stdout is not None
        process.stdout.readline()
    yield [first, second]
    os.killpg(first.pid, signal.SIGKILL)
    for process in (first, second):
        process.communicate()


def test_memory_of_a_process_group_excludes_mapped_files(
    group: list[subprocess.Popen[bytes]],
) -> None:
    assert 120 * MIB < resources.held_by_group(group[0].pid) < 160 * MIB
    assert resources.held_by_group(2**22 + 1) == 0


def test_job_over_its_memory_limit_fails_and_the_worker_continues(make_rig: MakeRig, dataset: str) -> None:
    rig = make_rig(trainer_memory_bytes=300 * MIB)
    big = queued(rig.engine, spec=spec(name="steps=9999 step_seconds=0.02 hold_mib=400", dataset=dataset))
    small = queued(rig.engine, spec=spec(name="steps=3", dataset=dataset))
    rig.run(big)
    job = job_of(rig.engine, big)
    assert job.state is JobState.FAILED
    failure = job.failure or {}
    assert (failure["code"], failure["origin"]) == ("out_of_memory", "user")
    assert "the limit is 300 MiB" in failure["message"]
    assert job.attempt == 1
    rig.run(small)
    assert state_of(rig.engine, small) is JobState.SUCCEEDED


def test_kernel_oom_kill_is_reported_and_retried() -> None:
    outcome = outcome_of(None, -signal.SIGKILL, None, oom_killed=True)
    assert isinstance(outcome, Broken)
    assert (outcome.failure.code, outcome.failure.origin) == ("out_of_memory", "system")
    other = outcome_of(None, 1, None, oom_killed=True)
    assert isinstance(other, Broken)
    assert other.failure.code == "trainer_died"


def test_attempt_over_its_time_limit_fails(make_rig: MakeRig, dataset: str) -> None:
    rig = make_rig(trainer_timeout_seconds=1.0)
    job_id = queued(rig.engine, spec=spec(name="steps=9999 step_seconds=0.02", dataset=dataset))
    rig.run(job_id)
    job = job_of(rig.engine, job_id)
    assert (job.state, (job.failure or {})["code"]) == (JobState.FAILED, "time_limit_exceeded")


def test_running_job_fails_at_its_deadline(rig: Rig, dataset: str) -> None:
    body = spec(name="steps=9999 step_seconds=0.02", dataset=dataset)
    job_id = queued(rig.engine, spec=body, deadline=timedelta(hours=1))
    thread = rig.start(job_id)
    wait_until(lambda: (job_of(rig.engine, job_id).progress or {}).get("step", 0) > 0)
    with session_scope(rig.engine) as session:
        # One statement: the worker stores progress at any time, which changes the version of an object that was read.
        session.execute(update(Job).where(Job.id == job_id).values(deadline_at=now(session)))
    thread.join(100)
    job = job_of(rig.engine, job_id)
    assert (job.state, (job.failure or {})["code"]) == (JobState.FAILED, "deadline_exceeded")
    assert job.deadline_at is not None
    assert job.finished_at is not None
    assert job.finished_at > job.deadline_at
    with read_scope(rig.engine) as session:
        [attempt] = crud.attempts(session, job_id)
        assert (attempt.outcome, attempt.code) == ("failed", "deadline_exceeded")
        assert (attempt.from_step, (attempt.to_step or 0) > 0) == (0, True)


@pytest.mark.parametrize("reason", ["deadline_exceeded", "time_limit_exceeded"])
def test_trainer_stopped_at_a_limit_fails_with_its_reason(reason: str) -> None:
    outcome = outcome_of(None, -signal.SIGKILL, reason)
    assert isinstance(outcome, Rejected)
    assert (outcome.failure.code, outcome.failure.retryable) == (reason, False)


def test_job_that_finishes_before_its_deadline_keeps_its_student(rig: Rig, dataset: str) -> None:
    job_id = queued(rig.engine, spec=spec(name="steps=5", dataset=dataset), deadline=timedelta(minutes=1))
    rig.run(job_id)
    assert state_of(rig.engine, job_id) is JobState.SUCCEEDED
    with session_scope(rig.engine) as session:
        student = artifacts.get(session, job_id, artifacts.STUDENT)
    assert rig.read(student.key).decode() == weights_after(5, "0")


def _cgroup() -> Path | None:
    """A writable memory cgroup (v1), if root has one on this machine."""
    parent = Path("/sys/fs/cgroup/memory")
    return parent if os.access(parent, os.W_OK) and (parent / "memory.limit_in_bytes").exists() else None


@pytest.mark.skipif(_cgroup() is None, reason="no memory cgroup (v1) that this user may write")
def test_kernel_oom_kills_are_counted() -> None:
    parent = _cgroup()
    assert parent is not None
    before = resources.oom_kills()
    group = parent / f"ttm-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(32 * MIB))
        enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0');"
        done = subprocess.run([sys.executable, "-c", enter + HOLDER.format(100 * MIB)], stdin=subprocess.DEVNULL)
        assert done.returncode == -signal.SIGKILL
        assert before is not None
        assert (resources.oom_kills() or 0) > before
    finally:
        group.rmdir()


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/", {"memory.max": "1000000"}, 1_000_000),
        ("0::/a/b", {"a/memory.max": "2000000", "a/b/memory.max": "max"}, 2_000_000),
        ("0::/host/path", {"memory.max": "3000000"}, 3_000_000),
        ("4:memory:/x\n0::/", {"memory/x/memory.limit_in_bytes": "4000000"}, 4_000_000),
        ("4:cpu,memory:/x", {"memory/memory.limit_in_bytes": "5000000"}, 5_000_000),
        ("0::/", {"memory.max": "max"}, psutil.virtual_memory().total),
        ("4:memory:/", {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, psutil.virtual_memory().total),
    ],
)
def test_memory_of_the_container_is_found(
    tmp_path: Path, membership: str, files: dict[str, str], expected: int
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    (tmp_path / "cgroup").write_text(membership + "\n")
    assert resources.available(tmp_path, tmp_path / "cgroup") == expected


def test_trainers_have_a_memory_limit_by_default() -> None:
    assert Settings().trainer_memory_bytes is None
    assert 0 < resources.trainer_limit(Settings()) < resources.available()
    assert resources.share(32 * 2**30, 2) == 31 * 2**30 // 2
    assert resources.share(1000, 1) == 900


def test_exports_run_in_as_many_processes_as_memory_and_cores_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 6)

    def processes(gib: int, workers: int = 1) -> int:
        return resources.export_processes(Settings(trainer_memory_bytes=gib * 2**30, workers_per_machine=workers))

    assert [processes(gib) for gib in (1, 4, 64)] == [1, 2, 6]
    assert [processes(64, workers) for workers in (2, 4, 12)] == [3, 1, 1]
    monkeypatch.setattr("os.cpu_count", lambda: 96)
    assert processes(256) == 8
