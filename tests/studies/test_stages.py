"""Studies with real dispatchers and workers; the trainer has no model."""

import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.stack import Stack
from tests.support.studies import candidates_of, create_study, jobs_of, study_of
from tests.support.tiny import wait_until
from ttm_jobs.broker.embedded import EmbeddedBroker
from ttm_jobs.database.engine import session_scope
from ttm_jobs.repositories.studies import crud
from ttm_jobs.states import TERMINAL, JobState
from ttm_jobs.studies.facts import JobKind
from ttm_jobs.studies.states import ENDED, StudyState


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
    sqlite_template: Path,
    redis: EmbeddedBroker,
    forked_tiny_trainer: Sequence[str],
) -> Iterator[Stack]:
    """A dispatcher and one worker, shared by tests. They are the last two processes of the stack, also after a kill."""
    folder = tmp_path_factory.mktemp("running")
    shutil.copy(sqlite_template, folder / "ttm.db")
    with Stack(folder, f"sqlite:///{folder}/ttm.db", redis) as stack:
        stack.trainer_command = forked_tiny_trainer
        stack.start_dispatcher()
        stack.start_worker()
        yield stack


def a_study(stack: Stack, **fields: object) -> str:
    (stack.data / "teacher.safetensors").write_bytes(b"x")
    return create_study(
        stack.engine, f"file://{stack.data}", teacher=f"file://{stack.data}/teacher.safetensors", **fields
    )


def wait_for_end(stack: Stack, study_id: str) -> StudyState:
    wait_until(lambda: study_of(stack.engine, study_id).state in ENDED)
    return study_of(stack.engine, study_id).state


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_study_runs_through_its_stages(stack: Stack, forked_tiny_trainer: Sequence[str]) -> None:
    stack.trainer_command = forked_tiny_trainer
    stack.start_dispatcher()
    stack.start_worker()
    study_id = a_study(
        stack,
        limits={"retention": 0.5, "bytes": 1_500_000},
        students=["mini/1", "cifar/resnet8", "cifar/resnet20", "cifar/resnet32", "cifar/resnet56", "cifar/resnet110"],
    )
    assert wait_for_end(stack, study_id) is StudyState.SUCCEEDED
    study, jobs = study_of(stack.engine, study_id), jobs_of(stack.engine, study_id)
    assert study.stage == "result"
    assert [job.kind for job in jobs[:2]] == [JobKind.SCREEN, JobKind.TEACHER]
    assert all(job.state in TERMINAL for job in jobs)
    rejected = {row.label: row.rejected for row in candidates_of(stack.engine, study_id) if row.rejected}
    assert rejected["mini/1"] == {"stage": "screen", "reason": "cannot be built or exported: too small"}
    assert (
        rejected["cifar/resnet110"]["reason"]
        == "int8: its size of 1,736,564 bytes is above the limit of 1,500,000 bytes"
    )
    # The first rung compares four candidates after a third of the epochs.
    (rung,) = study.decisions["rungs"]
    assert (rung["rung"], rung["epoch"], len(rung["accuracies"])) == (0, 3, 4)
    recommendation = study.result["recommendation"]
    assert recommendation["meets_limits"]
    assert recommendation["job"] in {job.id for job in jobs}
    assert study.result["baseline"]["runs"] == 2
    assert study.result["costs"]["teacher_forwards"] == 100
    finals = [job for job in jobs if job.state is JobState.SUCCEEDED and job.kind is JobKind.DISTILL]
    assert len(finals) == 2 * len(study.decisions["finalists"]) + 2
    # Trials of rungs that were not promoted never ran to their end.
    assert all(job.state is JobState.CANCELLED for job in jobs if job not in finals and job.kind is JobKind.DISTILL)


def sha256s(stack: Stack, study_id: str) -> dict[tuple[int, int, bool], str]:
    """The students of complete runs by candidate, seed and baseline."""
    return {
        (job.candidate, job.study_seed, job.baseline): stack.student(job.id)
        for job in jobs_of(stack.engine, study_id)
        if job.state is JobState.SUCCEEDED and job.kind is JobKind.DISTILL
    }


def choice(stack: Stack, study_id: str) -> tuple[object, ...]:
    study = study_of(stack.engine, study_id)
    assert study.result is not None
    recommendation = {name: value for name, value in study.result["recommendation"].items() if name != "job"}
    return study.decisions["rungs"], study.decisions["finalists"], recommendation, study.result["front"]


def _happened(stack: Stack, study_id: str) -> set[object]:
    """The number of the last event of a study, and its jobs that run."""
    running = {job.id for job in jobs_of(stack.engine, study_id) if job.state is JobState.RUNNING}
    return {study_of(stack.engine, study_id).last_event_number, *running}


@pytest.mark.parametrize(
    ("kills", "fields"),
    [
        (2, {"seeds": 1, "students": ["cifar/resnet8", "cifar/resnet20", "cifar/resnet32"]}),
        pytest.param(
            20,
            {"seeds": 3, "students": [f"cifar/resnet{depth}" for depth in (8, 14, 20, 32, 44, 56)]},
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_killed_workers_and_dispatchers_change_neither_the_choice_nor_the_students(
    running: Stack, kills: int, fields: dict[str, object]
) -> None:
    dispatcher, worker = running.processes[-2:]
    undisturbed = a_study(running, **fields)
    assert wait_for_end(running, undisturbed) is StudyState.SUCCEEDED

    disturbed = a_study(running, training={"epochs": 9, "checkpoint_seconds": 0.05}, **fields)
    seen: set[object] = set()
    for _ in range(kills):
        # Whenever the study decided something or another of its jobs started: one job is not killed until it is lost.
        wait_until(lambda seen=seen: _happened(running, disturbed) - seen)
        seen = seen | _happened(running, disturbed)
        assert study_of(running.engine, disturbed).state not in ENDED
        for process in (dispatcher, worker):
            process.send_signal(signal.SIGKILL)
            process.wait()
        dispatcher = running.start_dispatcher()
        # Without waiting: the rows of killed workers disappear meanwhile.
        worker = running.start("worker", "tests.support.tiny_worker", running.directory / "work")
    assert wait_for_end(running, disturbed) is StudyState.SUCCEEDED
    assert choice(running, disturbed) == choice(running, undisturbed)
    assert sha256s(running, disturbed) == sha256s(running, undisturbed)


@pytest.mark.parametrize(
    "stages", [["rungs", "finals"], pytest.param(["rungs"], marks=pytest.mark.thorough)], ids=" ".join
)
def test_a_study_is_paused_and_resumed_in_each_stage_and_cancelled_in_the_last(
    running: Stack, stages: list[str]
) -> None:
    study_id = a_study(running, training={"epochs": 9, "checkpoint_seconds": 0.05})

    def has(*states: JobState) -> bool:
        return any(job.state in states for job in jobs_of(running.engine, study_id))

    for stage in stages:
        wait_until(lambda stage=stage: study_of(running.engine, study_id).stage == stage and has(JobState.RUNNING))
        with session_scope(running.engine) as session:
            crud.request_pause(session, study_id)
        wait_until(lambda: not has(JobState.QUEUED, JobState.RUNNING, JobState.PAUSING))
        with session_scope(running.engine) as session:
            crud.resume(session, study_id)
        wait_until(lambda: has(JobState.RUNNING))
    with session_scope(running.engine) as session:
        crud.request_cancel(session, study_id)
    wait_until(lambda: all(job.state in TERMINAL for job in jobs_of(running.engine, study_id)))
    study = study_of(running.engine, study_id)
    assert (study.state, study.stage) == (StudyState.CANCELLED, stages[-1])
    with session_scope(running.engine) as session:
        crud.remove(session, study_id)
    assert jobs_of(running.engine, study_id) == []


def test_a_trial_that_fails_is_dropped_with_its_reason(running: Stack) -> None:
    study_id = a_study(
        running,
        students=["cifar/resnet8", "cifar/resnet20"],
        seeds=1,
        search={"training.optimizer.learning_rate": [0.1, 2.0]},
    )
    assert wait_for_end(running, study_id) is StudyState.SUCCEEDED
    rejected = [
        row.rejected
        for row in candidates_of(running.engine, study_id)
        if row.search_values["training.optimizer.learning_rate"] == 2.0
    ]
    assert rejected == [{"stage": "rungs", "reason": "its job failed: non_finite_loss: NaN."}] * 2


def test_a_first_candidate_whose_checkpoint_is_missing_fails_alone(running: Stack) -> None:
    missing = {"architecture": "cifar/resnet8", "checkpoint": f"file://{running.data}/missing.safetensors"}
    study_id = a_study(running, students=[missing, "cifar/resnet20"], seeds=1, baseline=False)
    assert wait_for_end(running, study_id) is StudyState.SUCCEEDED, study_of(running.engine, study_id).failure
    first, other = candidates_of(running.engine, study_id)
    assert (first.rejected or {})["reason"].startswith(
        "all of its runs failed: uri_not_allowed: The path does not exist"
    )
    assert other.rejected is None
    of_stages = [job for job in jobs_of(running.engine, study_id) if job.kind is not JobKind.DISTILL]
    assert [job.student for job in of_stages] == ["cifar/resnet8"] * 2
