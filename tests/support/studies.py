"""Creates studies through the repositories, as the API does."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Engine

from api.studies.creation import new_candidates, plan_of
from ttm_core.spec.study.study import StudySpec
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.models import Job, Study, StudyCandidate
from ttm_jobs.repositories.studies import candidates, crud
from ttm_jobs.repositories.studies.crud import JobOptions
from worker.dispatcher.studies import StudyScheduler

STUDENTS = ["cifar/resnet8", "cifar/resnet14", "cifar/resnet20", "cifar/resnet32"]


def study_spec(dataset: str = "file:///data/pets", **fields: Any) -> StudySpec:
    """The spec of a small study."""
    return StudySpec.model_validate(
        {
            "name": "a study",
            "teacher": "file:///data/teacher.safetensors",
            "dataset": dataset,
            "limits": {"retention": 0.5},
            "students": STUDENTS,
            "training": {"epochs": 9},
            "seeds": 2,
            **fields,
        }
    )


def create_study(engine: Engine, dataset: str = "file:///data/pets", **fields: Any) -> str:
    """Creates a running study and returns its id."""
    spec = study_spec(dataset, **fields)
    with session_scope(engine) as session:
        study = crud.create(
            session,
            name=spec.name,
            spec=spec.model_dump(mode="json"),
            plan=asdict(plan_of(spec)),
            candidates=new_candidates(spec.candidates()),
            options=JobOptions(priority=5, queue="default", max_attempts=3),
        )
        return study.id


def study_of(engine: Engine, study_id: str) -> Study:
    with read_scope(engine) as session:
        return crud.get(session, study_id)


def jobs_of(engine: Engine, study_id: str) -> list[Job]:
    with read_scope(engine) as session:
        return list(crud.jobs_of(session, study_id))


def candidates_of(engine: Engine, study_id: str) -> list[StudyCandidate]:
    with read_scope(engine) as session:
        return list(candidates.of_study(session, study_id))


def advance(engine: Engine) -> None:
    """Does what a dispatcher does until no study has a due message."""
    while StudyScheduler(engine).advance_due():
        pass
