"""Filters of the jobs list."""

from typing import Annotated

from fastapi import Depends, Query
from pydantic import AfterValidator

from api.http.types import UtcDatetime
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.states import JobState


def _printable(value: str) -> str:
    # PostgreSQL rejects NUL, and no job has control characters in its text fields.
    if not value.isprintable():
        raise ValueError("control characters are not allowed")
    return value


_Text = AfterValidator(_printable)


async def _filters(
    state: Annotated[
        list[JobState], Query(description="Only jobs in this state. May be repeated: jobs may have any of the states.")
    ] = [],  # noqa: B006
    tag: Annotated[
        list[Annotated[str, _Text]],
        Query(max_length=10, description="Only jobs with this tag. May be repeated: jobs must have all tags."),
    ] = [],  # noqa: B006
    name: Annotated[
        str | None, Query(max_length=200, description="Only jobs whose name contains this text, in any case."), _Text
    ] = None,
    teacher: Annotated[
        str | None,
        Query(
            max_length=2048, description="Only jobs with this teacher: the URI of its checkpoint, or `teacher:NAME`."
        ),
        _Text,
    ] = None,
    dataset: Annotated[
        str | None,
        Query(max_length=2048, description="Only jobs with this dataset: its URI, or `dataset:NAME`."),
        _Text,
    ] = None,
    owner: Annotated[
        str | None, Query(max_length=100, description="Only jobs submitted with a key of this name."), _Text
    ] = None,
    created_after: Annotated[
        UtcDatetime | None, Query(description="Only jobs created after this time (with a time zone).")
    ] = None,
    created_before: Annotated[
        UtcDatetime | None, Query(description="Only jobs created before this time (with a time zone).")
    ] = None,
) -> JobFilters:
    # A repeated state would return its jobs twice.
    states = list(dict.fromkeys(state))
    return JobFilters(states, tag, name, teacher, dataset, owner, created_after, created_before)


FiltersDep = Annotated[JobFilters, Depends(_filters)]
