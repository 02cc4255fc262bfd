"""The parameters of a list of jobs."""

from typing import Annotated

from fastapi import Depends, Query
from pydantic import AfterValidator

from api.http.types import UtcDatetime
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.states import JobState


def _printable(value: str) -> str:
    # PostgreSQL takes no NUL, and no job has a control character in its words.
    if not value.isprintable():
        raise ValueError("control characters are not allowed")
    return value


_Word = AfterValidator(_printable)


async def _filters(
    state: Annotated[list[JobState], Query(description="Only jobs in these states; may be repeated.")] = [],  # noqa: B006
    tag: Annotated[
        list[Annotated[str, _Word]],
        Query(max_length=10, description="Only jobs with this tag; repeated, with all of them."),
    ] = [],  # noqa: B006
    name: Annotated[str | None, Query(max_length=200, description="Only jobs whose name contains this text, in any case."), _Word] = None,
    teacher: Annotated[
        str | None, Query(max_length=2048, description="Only jobs of this teacher, by its checkpoint's address."), _Word
    ] = None,
    dataset: Annotated[
        str | None, Query(max_length=2048, description="Only jobs on this dataset, by its address."), _Word
    ] = None,
    owner: Annotated[
        str | None, Query(max_length=100, description="Only jobs that a key of this name submitted."), _Word
    ] = None,
    created_after: Annotated[UtcDatetime | None, Query(description="A time with its zone.")] = None,
    created_before: Annotated[UtcDatetime | None, Query(description="A time with its zone.")] = None,
) -> JobFilters:
    # A state twice would be read twice.
    states = list(dict.fromkeys(state))
    return JobFilters(states, tag, name, teacher, dataset, owner, created_after, created_before)


FiltersDep = Annotated[JobFilters, Depends(_filters)]
