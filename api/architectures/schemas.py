"""Schemas of architectures."""

from pydantic import BaseModel, Field

from api.http.pagination import Page


class ArchitectureOut(BaseModel):
    """A model architecture, with its default number of classes."""

    name: str
    family: str
    parameters: int
    macs: int | None = Field(
        description="Multiply-accumulate operations for one image of `input_size`; null if unknown."
    )
    input_size: list[int] = Field(description="Channels, height, width.")
    pretrained: bool = Field(description="Whether pretrained weights are available.")
    prunable: bool | None = Field(
        description="Whether a teacher of this architecture can be pruned (`student.prune`); null if this was not "
        "measured."
    )
    origin: str = Field(
        description="Where the model comes from: `timm`, `torchvision`, `cifar` or `mini` (CIFAR models with fewer "
        "channels), or the name and version of the package that workers have installed."
    )


class ArchitecturePage(Page[ArchitectureOut]):
    """Architectures, in catalogue order."""
