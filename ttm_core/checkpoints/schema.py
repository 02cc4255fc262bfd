"""What inspecting an uploaded checkpoint finds. Torch-free."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ttm_core.checkpoints.kinds import Kind
from ttm_core.spec.base import Spec
from ttm_core.spec.dataset import Pixels
from ttm_core.spec.job import ArchitectureName, CheckpointKey, KeyMap, Normalization

Names = Annotated[list[str], Field(max_length=20)]


class InspectionRequest(Spec):
    """What to compare a file with."""

    model_config = ConfigDict(json_schema_extra={"example": {"architecture": "resnet50"}})

    architecture: ArchitectureName | None = Field(None, description="Listed first among the candidates.")
    key_map: KeyMap | None = Field(None, description="Renames for this architecture, as in `teacher.key_map`.")
    checkpoint_key: CheckpointKey | None = Field(
        None, description="The model to describe in a file that has several, as in `teacher.checkpoint_key`."
    )
    image_size: Pixels | None = Field(
        None,
        description="Side of the images in pixels with which to run an ONNX file that takes any size, as in "
        "`teacher.image_size`.",
    )


class Candidate(BaseModel):
    """An architecture, and how well the tensors of a file fit it."""

    architecture: str
    score: float = Field(description="Share of the tensors of file and architecture that match, from 0 to 1.")
    loads: bool = Field(description="Whether the file loads as this architecture, with `key_map` if there is one.")
    num_classes: int | None = Field(description="Number of classes in the file.")
    key_map: KeyMap | None = Field(
        description="Proposed `teacher.key_map`; null if the names match or ttm knows the renames. Check the "
        "accuracy of the teacher: equal shapes do not prove an equal meaning."
    )
    conversions: list[Literal["known_renames", "identity_shortcuts", "auxiliary_classifiers_dropped"]] = Field(
        description="Changes that loading makes without being asked."
    )
    missing: Names = Field(description="Tensors that the file lacks; at most 20 are listed.")
    missing_count: int
    unexpected: Names = Field(description="Tensors that the architecture lacks; at most 20 are listed.")
    unexpected_count: int
    mismatched: Names = Field(description="Tensors of another shape; at most 20 are listed.")
    mismatched_count: int
    normalization: Normalization = Field(description="Normalization of the architecture's published weights.")
    input_size: list[int] = Field(description="Channels, height and width of the architecture's default input.")


NORMALIZATION_HINT = (
    "Set the mean and std that it was trained with; mean 0 and std 1 for pixels in [0, 1], and std 0.00392 (1/255) for "
    "pixels in [0, 255]."
)
"""What to do about an ONNX file that does not normalize its input."""


class OnnxClassifier(BaseModel):
    """What an ONNX file takes and returns."""

    input: str
    dtype: Literal["float32", "float16", "float64"]
    layout: Literal["NCHW", "NHWC", "flat"] = Field(description="flat: [batch, C * H * W].")
    batch: int | None = Field(description="Images per batch; null for any number.")
    channels: int
    image_size: int | None = Field(description="Side of the images in pixels; null for any.")
    output: str
    num_classes: int | None = Field(description="Null if it is known only after a run.")
    probabilities: bool = Field(description="Whether the output seems to be probabilities rather than logits.")
    pixels: Literal["unit", "bytes"] | None = Field(
        description="Scale of the pixels that the graph normalizes by itself: [0, 1] or [0, 255]. Null if the graph "
        "does not seem to normalize: set `teacher.normalization`."
    )
    class_names: list[str] | None = Field(None, description="Names of the classes, in an exported student.")
    parameters: int
    run_size: int | None = Field(
        None,
        description="Side in pixels of the black images on which the file was run once, within the limits of a job's "
        "run. Null if it was not run: it takes any size and the request names none, or the API has no ONNX Runtime.",
    )


class Inspection(BaseModel):
    """What a file is, and which architectures it fits, the best first."""

    kind: Kind = Field(description="torch: a file of torch.save. archive: a zip or tar archive, such as a dataset.")
    problem: str | None = Field(description="Why the file cannot be used as a checkpoint; null if it can be read.")
    layout: str | None = Field(None, description="Key under which the file has its weights, or its format.")
    tensors: int | None = Field(None, description="Number of tensors.")
    parameters: int | None = Field(None, description="Number of elements of all tensors.")
    architecture: str | None = Field(None, description="Architecture named in the file's metadata.")
    pruned: bool = Field(
        False,
        description="Whether the file is a pruned student. Its metadata has its structure, so it has no candidates.",
    )
    checkpoint_keys: list[str] = Field(
        [],
        description="Keys of the models in a file that has several, the described one first. `checkpoint_key` selects "
        "another.",
    )
    candidates: list[Candidate] = []
    onnx: OnnxClassifier | None = Field(None, description="What an ONNX file takes and returns.")
