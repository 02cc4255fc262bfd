"""Schemas of changes of several jobs."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.http.types import NoControls, UtcDatetime
from api.jobs.schemas import Tags
from ttm_core.spec.base import StrictModel
from ttm_jobs.repositories.jobs.listing import JobFilters
from ttm_jobs.states import JobState

_ID = "01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"
JobIds = Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=100)]
_Text = Annotated[str, Field(max_length=2048), NoControls]
_State = Annotated[JobState, Field(strict=False)]


class JobFilter(StrictModel):
    """Jobs that match all fields, as the parameters of `GET /jobs`. At least one field is required."""

    state: Annotated[list[_State], Field(max_length=len(JobState))] = Field([], description="Any of these states.")
    tag: Annotated[list[Annotated[str, NoControls]], Field(max_length=10)] = Field([], description="All of these tags.")
    name: _Text | None = Field(None, description="A part of the name, in any case.")
    teacher: _Text | None = Field(None, description="URI of the teacher's checkpoint, or `teacher:NAME`.")
    dataset: _Text | None = Field(None, description="URI of the dataset, or `dataset:NAME`.")
    owner: _Text | None = Field(None, description="Name of the submitting key.")
    study: _Text | None = Field(None, description="Id of a study. `none`: jobs that belong to no study.")
    created_after: UtcDatetime | None = None
    created_before: UtcDatetime | None = None

    @model_validator(mode="after")
    def _is_explicit(self) -> "JobFilter":
        if not any(self.model_dump().values()):
            raise ValueError("set at least one field: a change of all jobs must be explicit, for example by all states")
        return self

    def filters(self) -> JobFilters:
        """The same filters for a list of jobs."""
        return JobFilters(
            states=list(dict.fromkeys(self.state)),
            tags=self.tag,
            name=self.name,
            teacher=self.teacher,
            dataset=self.dataset,
            owner=self.owner,
            study=self.study,
            created_after=self.created_after,
            created_before=self.created_before,
        )


class JobSelection(StrictModel):
    """The jobs to change: by id, or by a filter."""

    jobs: JobIds | None = Field(None, description="Ids of 1 to 100 jobs.")
    filter: JobFilter | None = Field(
        None, description="Instead of `jobs`. A request changes at most 100 jobs, newest first."
    )
    cursor: Annotated[str, Field(max_length=512)] | None = Field(
        None, description="`next_cursor` of the previous response, with the same `filter`."
    )
    dry_run: bool = Field(False, description="Return the jobs without changing them.")

    @model_validator(mode="after")
    def _one_selection(self) -> "JobSelection":
        if (self.jobs is None) == (self.filter is None):
            raise ValueError("set `jobs` or `filter`")
        if self.cursor is not None and self.filter is None:
            raise ValueError("`cursor` needs `filter`")
        return self


class BulkCancel(JobSelection):
    """The jobs to cancel. A filter matches only jobs that have not ended."""

    model_config = ConfigDict(json_schema_extra={"example": {"jobs": [_ID]}})


class BulkTag(JobSelection):
    """The jobs to tag, and the changes of their tags."""

    model_config = ConfigDict(json_schema_extra={"example": {"jobs": [_ID], "add": ["table1"], "remove": ["draft"]}})

    add: Tags = Field([], description="Tags to add.")
    remove: Tags = Field([], description="Tags to remove. `add` wins.")

    @model_validator(mode="after")
    def _check_changes(self) -> "BulkTag":
        if not self.add and not self.remove:
            raise ValueError("`add` or `remove` must name a tag")
        return self


class BulkError(BaseModel):
    """Why a job is unchanged."""

    code: str = Field(description="The code that the request for this job alone would return.")
    message: str


class BulkItem(BaseModel):
    """The result for one job."""

    id: str
    state: JobState | None = Field(description="The job's state; null if `error` is set.")
    tags: list[str] | None = Field(description="The job's tags; null if `error` is set.")
    error: BulkError | None = Field(description="Null if the job was changed or needed no change.")


class BulkOut(BaseModel):
    """The results, in the order of the request, or newest first. A repeated id has one result."""

    items: list[BulkItem]
    matched: int = Field(
        description="Number of jobs that the filter matched when the request started, counted up to 100,000, without "
        "those of earlier cursors; or the number of different ids."
    )
    next_cursor: str | None = Field(
        None, description="Send it with the same filter to change the next jobs; null if all have been changed."
    )
