"""Substring search in job names, on both databases."""

import pytest
from sqlalchemy import Engine, insert, text

from tests.support.factories import create_job
from tests.support.statements import statements
from ttm_jobs.database.engine import read_scope, refresh_statistics, session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.models import Job
from ttm_jobs.repositories.jobs import crud, listing
from ttm_jobs.repositories.jobs.listing import JobFilters


def named(engine: Engine, name: str | None) -> str:
    with session_scope(engine) as session:
        job_id = create_job(session).id
        crud.rename(session, job_id, name=name)
    return job_id


def found(engine: Engine, substring: str, limit: int = 100) -> list[str]:
    with read_scope(engine) as session:
        return [job.id for job in listing.page(session, limit=limit, filters=JobFilters(name=substring)).jobs]


@pytest.mark.parametrize("substring", ["r56", "R56", "resnet56 to r", "100 %", '"quoted"', "a_b", "ü-net", "6", "to"])
def test_search_finds_substrings_in_any_case(engine: Engine, substring: str) -> None:
    job_id = named(engine, 'Resnet56 to R56 with 100 % of "quoted" a_b ü-net')
    for other in (None, "resnet", "axb 100 of quoted"):
        named(engine, other)
    assert found(engine, substring) == [job_id]


def test_search_follows_renames(engine: Engine) -> None:
    job_id = named(engine, "baseline")
    with session_scope(engine) as session:
        crud.rename(session, job_id, name="sweep")
    assert (found(engine, "baseline"), found(engine, "sweep")) == ([], [job_id])
    with session_scope(engine) as session:
        crud.rename(session, job_id, name=None)
    assert found(engine, "sweep") == []


def test_search_of_a_common_substring_returns_the_newest_first(engine: Engine) -> None:
    with session_scope(engine) as session:
        row = {column.name: getattr(create_job(session), column.name) for column in Job.__table__.columns}
        rows = [{**row, "id": new_id(), "name": f"sweep {number}"} for number in range(1500)]
        session.execute(insert(Job.__table__), rows)
    assert found(engine, "sweep", limit=5) == [row["id"] for row in rows[:-6:-1]]
    assert found(engine, "sweep 1499") == [rows[-1]["id"]]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_reads_the_trigram_index(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = connection.execute(text("EXPLAIN SELECT id FROM jobs WHERE name ILIKE '%r56%'")).all()
    assert "ix_jobs_name_trigrams" in str(plan)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite_reads_few_matches_by_their_ids(engine: Engine) -> None:
    with session_scope(engine) as session:
        row = {column.name: getattr(create_job(session), column.name) for column in Job.__table__.columns}
        session.execute(
            insert(Job.__table__), [{**row, "id": new_id(), "name": f"run {number}"} for number in range(3000)]
        )
    refresh_statistics(engine)
    with statements(engine, lambda sql: "FROM jobs" in sql) as sent:
        assert len(found(bound_to(engine, "default"), "run 299", limit=50)) == 11
    plan = []
    with engine.connect() as connection:
        for statement, parameters in sent:
            plan += connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert "(id=?)" in str(plan)
