"""Finding a job or a study by id, id prefix or name."""

import pytest
from sqlalchemy import Engine

from tests.support.factories import queued
from tests.support.studies import create_study
from ttm_jobs.database.engine import read_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.errors import AmbiguousJob, AmbiguousStudy, JobNotFound, StudyNotFound
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.studies import crud as studies


def find(engine: Engine, reference: str) -> str:
    with read_scope(engine) as session:
        return crud.find(session, reference).id


def shared_prefix(one: str, other: str) -> str:
    length = next(index for index, (left, right) in enumerate(zip(one, other, strict=True)) if left != right)
    return one[:length]


def test_full_id_unique_prefix_and_unique_name_find_the_job(engine: Engine) -> None:
    first, second = queued(engine, name="r56-a"), queued(engine, name="r56-b")
    unique = first[: len(shared_prefix(first, second)) + 1]
    for reference in (first, unique, unique.upper(), "r56-a"):
        assert find(engine, reference) == first


def test_id_wins_over_name(engine: Engine) -> None:
    first = queued(engine)
    queued(engine, name=first)
    assert find(engine, first) == first


def test_name_of_hexadecimal_digits_is_found(engine: Engine) -> None:
    job_id = queued(engine, name="beef")
    assert find(engine, "beef") == job_id


@pytest.mark.parametrize(
    "reference", ["", "01a", "nothing", "ffff", "%", "r5_", "01a208f9-4f21-7689-b112-a58ab3238037"]
)
def test_unknown_reference_raises_job_not_found(engine: Engine, reference: str) -> None:
    queued(engine, name="r56")
    with pytest.raises(JobNotFound):
        find(engine, reference)


def test_ambiguous_references_name_at_most_five_candidates(engine: Engine) -> None:
    ids = [queued(engine, name="same") for _ in range(7)]
    for reference in ("same", ids[0][:4]):
        with pytest.raises(AmbiguousJob) as caught:
            find(engine, reference)
        assert sum(job_id in caught.value.message for job_id in ids) == 5
        assert "and more" in caught.value.message
    assert AmbiguousJob.status == 409


def test_jobs_of_other_projects_are_not_found(engine: Engine) -> None:
    job_id = queued(engine, name="private")
    other = bound_to(engine, "other")
    for reference in (job_id, job_id[:20], "private"):
        with pytest.raises(JobNotFound):
            find(other, reference)


def test_studies_are_found_as_jobs_are(engine: Engine) -> None:
    first, second = create_study(engine, name="kiosk"), create_study(engine, name="car/left lane")
    create_study(engine, name="twice")
    create_study(engine, name="twice")
    with read_scope(engine) as session:
        for reference in (first, first[: len(shared_prefix(first, second)) + 1].upper(), "kiosk"):
            assert studies.find(session, reference).id == first
        assert studies.find(session, "car/left lane").id == second
        for reference in ("", "kios", "kiosk%", "ffff"):
            with pytest.raises(StudyNotFound):
                studies.find(session, reference)
        for reference in ("twice", first[:4]):
            with pytest.raises(AmbiguousStudy):
                studies.find(session, reference)
    with read_scope(bound_to(engine, "other")) as session, pytest.raises(StudyNotFound):
        studies.find(session, "kiosk")
