"""Schemas of the sources that projects may read."""

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ttm_core.spec.base import StrictModel
from ttm_jobs.settings import PROJECT_NAME
from ttm_jobs.uris import parse_origin

ProjectName = Annotated[
    str, Path(description="Name of the project: lowercase letters, digits and hyphens.", pattern=f"^{PROJECT_NAME}$")
]
_MOST = 100
_Folder = Annotated[str, Field(max_length=1024, pattern=r"^/[^\x00-\x1f\x7f]*$")]
_Origin = Annotated[str, Field(max_length=300), AfterValidator(parse_origin)]
_Bucket = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[!-~]+$")]


class SourcesRequest(StrictModel):
    """The sources that the jobs of a project may name, as far as the service's settings list them."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "data_roots": ["/data/vision"],
                "origins": ["https://data.example.org"],
                "buckets": ["gs://pets"],
            }
        }
    )

    data_roots: Annotated[list[_Folder], Field(max_length=_MOST)] = Field(
        description="Absolute paths of folders in `TTM_DATA_ROOTS`, or of folders inside of them."
    )
    origins: Annotated[list[_Origin], Field(max_length=_MOST)] = Field(
        description="Hosts of `TTM_ALLOWED_ORIGINS`, as `https://HOST`."
    )
    buckets: Annotated[list[_Bucket], Field(max_length=_MOST)] = Field(
        description="Buckets of `TTM_ALLOWED_BUCKETS`, as listed there."
    )


class SourcesOut(BaseModel):
    """What the jobs of a project may name."""

    project: str
    restricted: bool = Field(description="Whether the project may name only these; otherwise these are the service's.")
    data_roots: list[str] = Field(description="Folders of `file://` URIs.")
    origins: list[str] = Field(description="Hosts of `https://` URIs.")
    buckets: list[str] = Field(description="Buckets of `s3://`, `gs://` and `az://` URIs.")
