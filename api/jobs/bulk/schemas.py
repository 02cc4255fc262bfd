"""Schemas of changes of several jobs."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.jobs.schemas import Tags
from ttm_core.spec.base import StrictModel
from ttm_jobs.states import JobState

_ID = "01935c5e-8f3a-7c1e-9d55-2f6f0c1b7a10"
JobIds = Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=100)]
_JOBS = "Ids of 1 to 100 jobs."


class BulkCancel(StrictModel):
    """The jobs to cancel."""

    model_config = ConfigDict(json_schema_extra={"example": {"jobs": [_ID]}})

    jobs: JobIds = Field(description=_JOBS)


class BulkTag(StrictModel):
    """The jobs to tag, and the changes of their tags."""

    model_config = ConfigDict(json_schema_extra={"example": {"jobs": [_ID], "add": ["table1"], "remove": ["draft"]}})

    jobs: JobIds = Field(description=_JOBS)
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
    """The results, in the order of the request. A repeated id has one result."""

    items: list[BulkItem]
