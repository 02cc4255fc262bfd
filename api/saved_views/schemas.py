"""Schemas of saved views."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from ttm_core.spec.base import StrictModel

ViewPage = Literal["jobs", "studies"]
# A name is a part of a path: no slash, and no dot at its start.
ViewName = Annotated[
    str,
    Path(
        description="Name of the view.", min_length=1, max_length=60, pattern=r"^[^\x00-\x20\x7f/.][^\x00-\x1f\x7f/]*$"
    ),
]


class ViewRequest(StrictModel):
    """What a saved view shows."""

    model_config = ConfigDict(json_schema_extra={"example": {"query": "state=failed&sort=-submitted"}})

    query: Annotated[str, Field(max_length=2000, pattern=r"^[!-~]*$")] = Field(
        description="Query of the page's address, such as `state=failed&sort=-submitted`, percent-encoded. The "
        "position in the list is removed."
    )


class ViewOut(BaseModel):
    """A saved view of a list on the dashboard."""

    page: ViewPage
    name: str
    query: str
    href: str = Field(description="Path of the page with this query.")
    created_at: datetime


class ViewList(BaseModel):
    """The saved views of the project, by page and name. The list is not paginated."""

    items: list[ViewOut]
