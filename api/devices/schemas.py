"""Schemas of devices and their measuring work."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from api.http.types import SOME_TEXT
from ttm_core.spec.base import StrictModel
from ttm_jobs.models import RequestState


class DeviceOut(BaseModel):
    """A machine that has measured ONNX files or polled for work."""

    name: str
    cpu: str | None = Field(description="Model of its CPU or board; null before its first measurement.")
    last_seen_at: datetime = Field(description="When it last measured or polled; accurate to ten seconds.")
    measurements: int = Field(description="Number of recorded measurements.")
    jobs: int = Field(description="Number of jobs with measurements of this device.")
    last_measured_at: datetime | None
    pending_requests: int = Field(description="Measurement requests that wait for its agent.")


class DeviceList(BaseModel):
    """The devices of the project, by name. The list is not paginated."""

    items: list[DeviceOut]


class DeviceRequest(StrictModel):
    """A request to measure a job's ONNX artifacts on a device."""

    model_config = ConfigDict(json_schema_extra={"example": {"job_id": "01980000-0000-7000-8000-000000000000"}})

    job_id: Annotated[str, Field(min_length=1, max_length=36)]
    batches: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1, max_length=8)] = Field(
        [1, 32], description="Batch sizes. Each is measured with one thread and with all cores."
    )


class RequestOut(BaseModel):
    """One ONNX file to measure at one batch size and number of threads."""

    id: str
    state: RequestState
    sha256: str = Field(description="SHA-256 of the file.")
    size: int = Field(description="Bytes of the file.")
    href: str = Field(description="Download path of the file.")
    batch: int
    threads: int | None = Field(description="Null: all cores of the device.")
    error: str | None = Field(description="Why it was not measured.")
    created_at: datetime
    finished_at: datetime | None


class RequestList(BaseModel):
    """Measurement requests. The list is not paginated."""

    items: list[RequestOut]


class ClaimOut(BaseModel):
    """The claimed work; null if there is none."""

    request: RequestOut | None


class FailureRequest(StrictModel):
    """The reason why a file was not measured."""

    model_config = ConfigDict(json_schema_extra={"example": {"error": "memory: not enough memory to run the model"}})

    error: Annotated[str, Field(min_length=1, max_length=500, pattern=SOME_TEXT)]
