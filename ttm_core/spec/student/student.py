"""The student of a run."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ttm_core.spec import catalogue
from ttm_core.spec.base import ArchitectureName, CheckpointKey, CheckpointUri, Spec
from ttm_core.spec.dataset import Pixels
from ttm_core.spec.normalization import Normalization
from ttm_core.spec.student.pruning import PruneSpec

_URI = re.compile(r"[a-z][a-z0-9]+:")  # names of architectures have no colon


class StudentSpec(Spec):
    """The student: the model to train.

    A string is short for `{"architecture": ...}`, or for `{"checkpoint": ...}` if it is a URI such as `timm:NAME`.
    """

    architecture: ArchitectureName | None = Field(
        None, description="Default: read from `checkpoint`. Required without `checkpoint` and `prune`."
    )
    checkpoint: CheckpointUri | None = Field(
        None,
        description="Initial weights: `timm:NAME`, `hf:OWNER/REPO`, `job:ID`, `upload:ID` or another URI. The "
        "classifier may differ in size.",
    )
    checkpoint_key: CheckpointKey | None = Field(
        None, description="The model in a `checkpoint` that has several, as in `teacher.checkpoint_key`."
    )
    prune: PruneSpec | None = Field(
        None, description="Cut the student out of the teacher, with the weights of the channels that remain."
    )
    initialize: Literal["teacher"] | None = Field(
        None,
        description="teacher: start with evenly chosen blocks and channels of a larger teacher of the same family. "
        "Default: random weights.",
    )
    image_size: Pixels | None = Field(None, description="Side of the square input in pixels.")
    normalization: Normalization | None = None
    freeze: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=100)] = Field(
        [], description="Initial parameters to exclude from training: shell patterns such as `layer1.*`."
    )
    drop_path: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="Stochastic depth rate of the last block; it increases linearly over the blocks. Only for timm "
        "models that support it.",
    )

    @property
    def named_architecture(self) -> str | None:
        """The architecture, or that of the published weights; None if only the weights or the teacher define it."""
        return self.architecture or (None if self.checkpoint is None else catalogue.published_name(self.checkpoint))

    @property
    def from_teacher(self) -> Literal["prune", "initialize"] | None:
        """The field that makes the student start with the teacher's weights."""
        if self.prune is not None:
            return "prune"
        return "initialize" if self.initialize is not None else None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        return {"checkpoint" if _URI.match(data) else "architecture": data}

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.prune is not None and (self.architecture is not None or self.checkpoint is not None):
            field = "architecture" if self.architecture is not None else "checkpoint"
            raise ValueError(f"set `{field}` or `prune`, not both: a pruned student is made of the teacher")
        if self.initialize is not None and (self.prune is not None or self.checkpoint is not None):
            field = "prune" if self.prune is not None else "checkpoint"
            raise ValueError(f"set `initialize` or `{field}`, not both: each determines the initial weights")
        if self.architecture is None and self.checkpoint is None and self.prune is None:
            raise ValueError("set `architecture`, `checkpoint` or `prune`")
        if self.initialize is not None and self.architecture is None:
            raise ValueError("initialize requires `architecture`")
        if self.checkpoint_key is not None and self.checkpoint is None:
            raise ValueError("checkpoint_key requires `checkpoint`, the file that has several models")
        if self.freeze and not (self.checkpoint or self.from_teacher):
            raise ValueError("freeze requires `checkpoint`, `prune` or `initialize`: it keeps their weights")
        if self.drop_path and self.architecture is not None and self.architecture.startswith(("cifar/", "mini/")):
            raise ValueError(f"drop_path: {self.architecture} does not support stochastic depth")
        return self
