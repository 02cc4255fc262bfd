"""Predictions of a job's ONNX files for one image. Torch-free."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ttm_core.spec.damage.files import TEACHER_FILE
from ttm_core.spec.damage.schema import Guess

ModelName = Literal["student", "student_fp16", "student_int8", "teacher"]

FILES: dict[str, ModelName] = {
    "student.onnx": "student",
    "student-fp16.onnx": "student_fp16",
    "student-int8.onnx": "student_int8",
    TEACHER_FILE: "teacher",
}
"""The artifacts that predict, in the order of the answer."""

MAX_PIXELS = 25_000_000
THREADS = 1


class ModelPrediction(BaseModel):
    """The five most probable classes of one model."""

    model_config = ConfigDict(frozen=True)

    model: ModelName
    file: str = Field(description="The artifact that ran.")
    top: list[Guess] = Field(description="Up to five classes, most probable first.")
    latency_ms: float = Field(description="Median time of one image in ms, without decoding, after a warm-up run.")
    runs: int = Field(description="Timed runs.")


class Prediction(BaseModel):
    """The answers of a job's models to one image, from ONNX Runtime on the service's CPU."""

    model_config = ConfigDict(frozen=True)

    width: int = Field(description="Width of the image in pixels.")
    height: int = Field(description="Height of the image in pixels.")
    threads: int = Field(THREADS, description="Threads of ONNX Runtime.")
    models: list[ModelPrediction]
