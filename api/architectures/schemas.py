"""What an architecture looks like to a client."""

from pydantic import BaseModel, Field

from api.http.pagination import Page


class ArchitectureOut(BaseModel):
    """A model that the service can train, as it is with its default number of classes."""

    name: str
    family: str
    parameters: int
    macs: int | None = Field(description="Multiply-accumulates for one image of `input_size`; null if not known.")
    input_size: list[int] = Field(description="Channels, height, width.")
    pretrained: bool = Field(description="Whether published weights exist.")


class ArchitecturePage(Page[ArchitectureOut]):
    """Architectures in the catalogue's order."""
