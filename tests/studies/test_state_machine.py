"""Studies under random interleavings: steps of dispatchers, crashes, ended and failed jobs, pauses and cancels."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, func, select

from tests.support.studies import advance, create_study, jobs_of, study_of
from tests.support.study_jobs import end_job, fail_job
from ttm_jobs.database.engine import create_engine, read_scope, session_scope
from ttm_jobs.errors import Conflict
from ttm_jobs.models import Job, StudyEvent
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.studies import advance as steps
from ttm_jobs.repositories.studies import crud
from ttm_jobs.repositories.studies.replay import replay
from ttm_jobs.states import TERMINAL, JobState
from ttm_jobs.studies.decision import Start
from ttm_jobs.studies.states import ENDED, StudyState
from worker.dispatcher.studies import job_fields

FIELDS: dict[str, Any] = {"seeds": 1, "limits": {"retention": 0.5, "bytes": 1_000_000}}


class Crash(Exception):
    """The dispatcher dies while it applies actions."""


def undisturbed(engine: Engine) -> Json:
    """The decisions of a study that nothing disturbs."""
    study_id = create_study(engine, **FIELDS)
    finish(engine, study_id)
    return study_of(engine, study_id).decisions


def finish(engine: Engine, study_id: str) -> None:
    """Runs a study to its end."""
    for _ in range(100):
        advance(engine)
        if study_of(engine, study_id).state in ENDED:
            return
        waiting = [job for job in jobs_of(engine, study_id) if job.state is JobState.QUEUED]
        assert waiting, "the study waits for nothing"
        end_job(engine, waiting[0])
    raise AssertionError("the study does not end")


def machine(template: Path) -> type[RuleBasedStateMachine]:
    @contextmanager
    def database() -> Iterator[Engine]:
        with TemporaryDirectory() as folder:
            shutil.copy(template, Path(folder) / "ttm.db")
            engine = create_engine(f"sqlite:///{folder}/ttm.db")
            yield engine
            engine.dispose()

    with database() as engine:
        expected = undisturbed(engine)

    class StudyLife(RuleBasedStateMachine):
        @initialize()
        def start(self) -> None:
            self.context = database()
            self.engine = self.context.__enter__()
            self.study_id = create_study(self.engine, **FIELDS)
            self.failed = False

        @rule()
        def step(self) -> None:
            advance(self.engine)

        @rule(after=st.integers(0, 4))
        def crash(self, after: int) -> None:
            """A dispatcher dies after it has created `after` jobs: its transaction is rolled back."""
            created = 0

            def fields(study: Any, candidate: Any, action: Start) -> dict[str, Any]:
                nonlocal created
                if created == after:
                    raise Crash
                created += 1
                return job_fields(study, candidate, action)

            with suppress(Crash), session_scope(self.engine) as session:
                steps.advance(session, self.study_id, fields)

        @rule(choice=st.integers(0, 20))
        def end_one(self, choice: int) -> None:
            waiting = [job for job in jobs_of(self.engine, self.study_id) if job.state is JobState.QUEUED]
            if waiting:
                end_job(self.engine, waiting[choice % len(waiting)])

        @rule(choice=st.integers(0, 20))
        @precondition(lambda self: not self.failed)
        def fail_one(self, choice: int) -> None:
            waiting = [job for job in jobs_of(self.engine, self.study_id) if job.state is JobState.QUEUED]
            if waiting and choice > 15:
                fail_job(self.engine, waiting[choice % len(waiting)])
                self.failed = True

        @rule()
        def pause(self) -> None:
            with suppress(Conflict), session_scope(self.engine) as session:
                crud.request_pause(session, self.study_id)

        @rule()
        def resume(self) -> None:
            with suppress(Conflict), session_scope(self.engine) as session:
                crud.resume(session, self.study_id)

        @rule(really=st.integers(0, 9))
        def cancel(self, really: int) -> None:
            if really == 0:
                with suppress(Conflict), session_scope(self.engine) as session:
                    crud.request_cancel(session, self.study_id)

        @invariant()
        def jobs_are_unique_and_end_with_the_study(self) -> None:
            jobs = jobs_of(self.engine, self.study_id)
            places = [(job.kind, job.candidate, job.study_seed, job.baseline) for job in jobs]
            assert len(places) == len(set(places))
            study = study_of(self.engine, self.study_id)
            if study.state in ENDED:
                assert all(job.state in TERMINAL for job in jobs)
            if study.state is StudyState.PAUSED:
                assert not any(job.state is JobState.QUEUED for job in jobs)

        @invariant()
        def events_are_numbered_without_gaps(self) -> None:
            with read_scope(self.engine) as session:
                query = select(func.count(), func.max(StudyEvent.number)).where(StudyEvent.study_id == self.study_id)
                count, last = session.execute(query).one()
            assert count == last == study_of(self.engine, self.study_id).last_event_number

        def teardown(self) -> None:
            if not hasattr(self, "engine"):
                return
            try:
                if study_of(self.engine, self.study_id).state is StudyState.PAUSED:
                    self.resume()
                finish(self.engine, self.study_id)
                study = study_of(self.engine, self.study_id)
                if study.state is not StudyState.CANCELLED and not self.failed:
                    assert study.decisions == expected
                if study.state is StudyState.SUCCEEDED:
                    with read_scope(self.engine) as session:
                        assert replay(session, crud.get(session, self.study_id), study.created_at) == study.decisions
                        assert (
                            session.scalar(select(func.count()).select_from(Job).where(Job.state == JobState.QUEUED))
                            == 0
                        )
            finally:
                self.context.__exit__(None, None, None)

    return StudyLife


@pytest.mark.parametrize("examples", [8, pytest.param(100, marks=pytest.mark.thorough)])
def test_any_interleaving_ends_with_the_same_decisions(sqlite_template: Path, examples: int) -> None:
    run_state_machine_as_test(
        machine(sqlite_template),
        settings=settings(
            max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
