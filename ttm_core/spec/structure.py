"""ModelStructure: everything that determines a model's modules and the shapes of its tensors. Torch-free.

Files, reports and the database store it as JSON. `ttm_core.models.build` creates the model.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ttm_core.spec.base import ArchitectureName, Spec
from ttm_core.spec.dataset import Pixels

# Limits on the work of replaying a history from an untrusted file. The largest history measured (densenet201 in four
# steps) has about 800 steps; 2**20 channels are more than any model of timm has.
MAX_PRUNING_STEPS = 2048
MAX_PRUNED_CHANNELS = 2**20
MAX_CLASSES = 100_000

# Arguments of a timm model that a file may set. Others could load files or allocate any amount of memory.
OptionName = Literal["drop_path_rate"]


class PruningStep(Spec):
    """Channels removed from one layer, and from every layer that depends on them."""

    module: Annotated[str, Field(min_length=1, max_length=300)] = Field(description="Name of the layer in the model.")
    output: bool = Field(description="Whether `channels` are output channels of the layer, or input channels.")
    channels: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = Field(
        description="Ascending indices of the removed channels before this step."
    )

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if any(first >= second for first, second in pairwise(self.channels)):
            raise ValueError("channels must be ascending and different")
        return self


class ModelStructure(Spec):
    """The structure of a model."""

    architecture: ArchitectureName
    num_classes: Annotated[int, Field(ge=0, le=MAX_CLASSES)] = Field(
        description="Width of the logits; 0 for a model that returns pooled features."
    )
    in_chans: Annotated[int, Field(ge=1, le=4)] = Field(3, description="Channels of the image.")
    image_size: Pixels | None = Field(
        None,
        description="Side of the square input in pixels. It determines shapes only in models with a fixed input size.",
    )
    options: dict[OptionName, float] = Field({}, description="Further arguments of the architecture in timm.")
    pruning: Annotated[list[PruningStep], Field(max_length=MAX_PRUNING_STEPS)] = Field(
        [], description="Pruning history: the steps that turn the architecture into this model, in order."
    )

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if sum(len(step.channels) for step in self.pruning) > MAX_PRUNED_CHANNELS:
            raise ValueError(f"a pruning history may remove at most {MAX_PRUNED_CHANNELS:,} channels")
        return self


METADATA_KEY = "ttm"
"""The entry of a file's metadata that the project writes: one JSON document."""

STUDENT_FORMAT = 2
"""Version of the metadata of student files. Version 1 had the fields of an unpruned structure at the top level."""


def structure_of(metadata: Mapping[str, Any]) -> ModelStructure | None:
    """The structure in the metadata of a student file of any version; None if the metadata has none.

    Raises:
        ValueError: the metadata has an unknown version or an invalid structure.
    """
    match metadata.get("format"):
        case 1 if isinstance(metadata.get("architecture"), str):
            fields = ("architecture", "num_classes", "in_chans", "image_size")
            return ModelStructure.model_validate({name: metadata[name] for name in fields if name in metadata})
        case 2:
            return ModelStructure.model_validate(metadata.get("structure"))
        case None if "structure" not in metadata:
            return None
        case version:
            raise ValueError(f"version {str(version)[:20]!r} of the metadata is not known; known are 1 and 2")
