"""Reads `predictions.safetensors`: per image the label and both models' predicted classes and probabilities.

Without NumPy, so that the API can compare two jobs.
"""

import json
import sys
from array import array
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ttm_core.spec.events import Reference

METADATA_KEY = "ttm"
MAX_IMAGES = 1_000_000
"""Larger splits have no damage report."""

_TYPES = {"U16": "H", "U32": "I", "F32": "f"}


class PredictionsInfo(BaseModel):
    """Metadata of the file: what was evaluated."""

    model_config = ConfigDict(frozen=True)

    split: Literal["validation", "test"]
    against: Reference
    data: str  # hash of the images, their order and their labels
    class_names: list[str]


class ModelPredictions:
    """A model's predicted class of each image, and its probability."""

    def __init__(self, classes: Sequence[int], probabilities: Sequence[float]) -> None:
        self.classes = classes
        self.probabilities = probabilities


class Predictions:
    """The labels of n images, and the predictions of the student and of its teacher if there is one."""

    def __init__(
        self,
        info: PredictionsInfo,
        labels: Sequence[int],
        student: ModelPredictions,
        teacher: ModelPredictions | None,
    ) -> None:
        self.info = info
        self.labels = labels
        self.student = student
        self.teacher = teacher

    @classmethod
    def from_bytes(cls, content: bytes) -> "Predictions":
        """Parses the file. Raises ValueError for any other content."""
        try:
            start = 8 + int.from_bytes(content[:8], "little")
            header = json.loads(content[8:start])
            info = PredictionsInfo.model_validate_json(header.pop("__metadata__")[METADATA_KEY])
            columns = {name: _column(content, start, entry) for name, entry in header.items()}
            teacher = None
            if "teacher" in columns:
                teacher = ModelPredictions(columns["teacher"], columns["teacher_probability"])
            student = ModelPredictions(columns["student"], columns["student_probability"])
            labels = columns["label"]
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a file of predictions: {error}") from error
        if len({len(column) for column in columns.values()}) != 1:
            raise ValueError("not a file of predictions: the columns have different lengths")
        return cls(info, labels, student, teacher)


def _column(content: bytes, start: int, entry: dict[str, object]) -> "array[int]":
    first, end = entry["data_offsets"]  # type: ignore[misc]
    column = array(_TYPES[str(entry["dtype"])])
    column.frombytes(content[start + first : start + end])  # type: ignore[has-type]
    if sys.byteorder == "big":
        column.byteswap()
    return column
