"""Sorted lists of jobs."""

from itertools import product
from typing import Any

import pytest
from sqlalchemy import Engine

from api.dashboard.jobs.table import ran_seconds, waited_seconds
from api.jobs.schemas import JobSummary
from api.jobs.views import summary
from tests.support.factories import create_job
from tests.support.runs import claim, fail, succeed, train
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.repositories.jobs import ordering
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.states import JobState
from ttm_jobs.storage import build_storage

SHOWN = {
    "name": lambda job: job.name,
    "state": lambda job: job.state,
    "owner": lambda job: job.owner,
    "models": lambda job: job.student,
    "dataset": lambda job: job.dataset,
    "method": lambda job: job.method,
    "progress": lambda job: job.progress and job.progress.fraction,
    "top1": lambda job: job.accuracy and job.accuracy.student,
    "change": lambda job: job.accuracy and job.accuracy.change_points,
    "attempt": lambda job: job.attempt,
    "waited": waited_seconds,
    "ran": ran_seconds,
    "submitted": lambda job: job.created_at,
}


@pytest.fixture
def jobs(engine: Engine, tmp_path: Any) -> Engine:
    """Creates twelve jobs: queued, running at different steps, failed and succeeded."""
    storage = build_storage(f"file:{tmp_path / 'storage'}")
    with session_scope(engine) as session:
        ids = [
            create_job(
                session,
                name=f"job {n * 7 % 12}",
                student=f"cifar/resnet{n % 3}",
                owner=[None, "ana", "ben"][n % 3],
                tags=["a"] if n % 2 else [],
            ).id
            for n in range(12)
        ]
    for n, job_id in enumerate(ids[3:]):
        lease = claim(engine, job_id)
        if n:
            train(engine, lease, range(1, 2 + n))
        if n == 4:
            fail(engine, lease)
        if n == 7:
            succeed(engine, storage, lease)
    return engine


def listed(engine: Engine, order: str, *, descending: bool, **filters: Any) -> list[JobSummary]:
    """All pages with five jobs each."""
    found: list[JobSummary] = []
    with read_scope(engine) as session:
        for number in range(4):
            page = ordering.page(
                session, order, descending=descending, limit=5, number=number, filters=JobFilters(**filters)
            )
            found += [summary(job) for job in page.jobs]
            if not page.has_more:
                break
    return found


def test_each_sort_order_matches_the_shown_values(jobs: Engine) -> None:
    assert set(SHOWN) == set(ordering.ORDERS)
    for order, descending in product(SHOWN, (False, True)):
        found = listed(jobs, order, descending=descending)
        assert len({job.id for job in found}) == len(found) == 12
        shown = [SHOWN[order](job) for job in found]
        present = [value for value in shown if value is not None]
        assert shown[len(present) :] == [None] * (12 - len(present)), "missing values sort last"
        if order in ("waited", "ran"):
            # The duration of a running job has grown since the query.
            present = [round(value, 1) for value in present]
        assert present == sorted(present, reverse=descending), order


def test_sorted_lists_respect_filters_and_project(jobs: Engine) -> None:
    found = listed(jobs, "top1", descending=True, states=(JobState.RUNNING,), tags=("a",))
    assert 0 < len(found) < 6
    assert {(job.state, tuple(job.tags)) for job in found} == {("running", ("a",))}
    for tags in ((), ("a",)):
        assert listed(bound_to(jobs, "another"), "top1", descending=True, tags=tags) == []
