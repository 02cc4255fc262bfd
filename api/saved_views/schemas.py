"""Schemas of saved views."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from ttm_core.spec.base import StrictModel

ViewPage = Literal["jobs", "studies"]
# A name is the end of a path: a proxy that decodes slashes would remove empty parts and resolve dots.
_PART = r"[^\x00-\x20\x7f/.][^\x00-\x1f\x7f/]*"
ViewName = Annotated[
    str,
    Path(
        description="Name of the view. It may have slashes. No part of it is empty or starts with a dot or a space.",
        min_length=1,
        max_length=60,
        pattern=f"^{_PART}(/{_PART})*$",
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
