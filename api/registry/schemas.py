"""What named teachers and datasets look like to a client."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.http.pagination import Page
from ttm_core.spec.base import StrictModel, or_short
from ttm_core.spec.dataset import DatasetSpec
from ttm_core.spec.job import TeacherSpec

Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$",
        description="Small letters, digits, dots, hyphens and underscores.",
        examples=["pets-resnet50"],
    ),
]
Description = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]


class TeacherRequest(StrictModel):
    """A version of a teacher."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "pets-resnet50",
                "teacher": {"checkpoint": "timm:resnet50.a1_in1k", "architecture": "resnet50"},
                "description": "Trained on the whole of Pets.",
            }
        },
    )

    name: Name
    teacher: Annotated[TeacherSpec, or_short(str | TeacherSpec)]
    description: Description | None = None


class DatasetRequest(StrictModel):
    """A version of a dataset."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "pets", "dataset": {"uri": "file:///data/pets", "validation": {"share": 0.1}}}
        },
    )

    name: Name
    dataset: Annotated[DatasetSpec, or_short(str | DatasetSpec)]
    description: Description | None = None


class _Version(BaseModel):
    name: str
    version: int
    uri: str = Field(description="How a spec names this version; without `@VERSION` it names the newest.")
    description: str | None
    created_at: datetime


class TeacherOut(_Version):
    """A version of a teacher, which never changes."""

    teacher: dict[str, Any] = Field(description="What of a spec the name stands for.")


class DatasetOut(_Version):
    """A version of a dataset, which never changes."""

    dataset: dict[str, Any] = Field(description="What of a spec the name stands for.")


class TeacherPage(Page[TeacherOut]):
    """Teachers by name, or the versions of one, newest first."""


class DatasetPage(Page[DatasetOut]):
    """Datasets by name, or the versions of one, newest first."""
