"""Schemas of registered teachers and datasets."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.http.pagination import Page
from api.http.types import SOME_TEXT
from ttm_core.spec.base import StrictModel, or_short
from ttm_core.spec.dataset import DatasetSpec
from ttm_core.spec.job import TeacherSpec

Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$",
        description="Lowercase letters, digits, dots, hyphens and underscores.",
        examples=["pets-resnet50"],
    ),
]
Description = Annotated[str, Field(min_length=1, max_length=500, pattern=SOME_TEXT)]


class TeacherRequest(StrictModel):
    """A new version of a teacher."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "pets-resnet50",
                "teacher": {"checkpoint": "timm:resnet50.a1_in1k", "architecture": "resnet50"},
                "description": "Trained on the complete Pets dataset.",
            }
        },
    )

    name: Name
    teacher: Annotated[TeacherSpec, or_short(str | TeacherSpec)]
    description: Description | None = None


class DatasetRequest(StrictModel):
    """A new version of a dataset."""

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
    uri: str = Field(description="Reference for specs. Without `@VERSION` it refers to the latest version.")
    description: str | None
    created_at: datetime


class TeacherOut(_Version):
    """A version of a teacher. Versions are immutable."""

    teacher: dict[str, Any] = Field(description="The teacher fields of a spec.")


class DatasetOut(_Version):
    """A version of a dataset. Versions are immutable."""

    dataset: dict[str, Any] = Field(description="The dataset fields of a spec.")


class TeacherPage(Page[TeacherOut]):
    """Teachers by name, or the versions of a teacher, newest first."""


class DatasetPage(Page[DatasetOut]):
    """Datasets by name, or the versions of a dataset, newest first."""
