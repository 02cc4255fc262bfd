"""Queries of the dashboard's lists: what their pages accept, and so what a saved view can have."""

from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import parse_qs

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from api.http.errors import InvalidRequest
from api.http.field_errors import field_error, summary
from api.http.problems import FieldError, FieldErrors
from api.http.types import NoControls
from api.saved_views.schemas import ViewPage
from ttm_jobs.repositories.jobs.listing import NO_STUDY
from ttm_jobs.repositories.jobs.ordering import ORDERS
from ttm_jobs.states import JobState
from ttm_jobs.studies.states import StudyState

# The parameters that select a page of a list.
POSITIONS = ("cursor", "page")
# In place of the id of a study: jobs of studies are listed as all others.
ALL_JOBS = "all"

Grouping = Literal["tag", "dataset", "study", "student"]
_Filter = Annotated[str, Field(max_length=2048), NoControls]
_Cursor = Annotated[str, Field(max_length=512)] | None


def _check_order(value: str) -> str:
    if value and value.removeprefix("-") not in ORDERS:
        raise ValueError(f"{value!r} is not one of {', '.join(map(repr, ORDERS))}, nor one of them after '-'")
    return value


class JobsQuery(BaseModel):
    """Query of the page of jobs. `sort` is a column, descending after `-`; jobs are sorted by creation time without.
    `study` is the id of a study, NO_STUDY or ALL_JOBS; without it, the jobs of studies are hidden.
    """

    state: list[JobState] = []
    sort: Annotated[str, Field(max_length=32), AfterValidator(_check_order)] = ""
    tag: _Filter = ""
    name: _Filter = ""
    teacher: _Filter = ""
    dataset: _Filter = ""
    owner: _Filter = ""
    study: _Filter = NO_STUDY
    group: Grouping | None = None
    cursor: _Cursor = None
    page: Annotated[int, Field(ge=0, le=100_000)] = 0


class StudiesQuery(BaseModel):
    """Query of the page of studies."""

    state: StudyState | None = None
    cursor: _Cursor = None


_QUERIES: Mapping[ViewPage, type[JobsQuery] | type[StudiesQuery]] = {"jobs": JobsQuery, "studies": StudiesQuery}


def check(page: ViewPage, query: str) -> None:
    """Raises FieldErrors if a page would refuse a query, or ignore a part of it."""
    model = _QUERIES[page]
    values = {
        name: given if name == "state" and model is JobsQuery else given[-1] for name, given in parse_qs(query).items()
    }
    try:
        model.model_validate(values, extra="forbid")
    except ValidationError as error:
        raise FieldErrors(*((InvalidRequest(), _fault(each, values, model)) for each in error.errors())) from None


def _fault(error: Mapping[str, object], values: Mapping[str, object], model: type[BaseModel]) -> FieldError:
    parameter = field_error({**error, "loc": ("body", *error["loc"])}, values, model)  # type: ignore[misc]
    return FieldError(pointer="/query", detail=summary(parameter, others=0))
