"""What a worker asks of a run besides its spec: the options in `run.json`. Torch-free."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ttm_core.spec.job import StudentSpec


class ScreenedStudent(BaseModel):
    """A student to build and measure, with the numbers of the study's candidates that it is part of."""

    model_config = ConfigDict(frozen=True)

    numbers: list[int]
    student: StudentSpec


class RunOptions(BaseModel):
    """The options of a run. `distill` trains the spec's student; `screen` builds and measures `students` without
    training; `teacher` stores the teacher's logits of all views. Equal options and specs give equal results.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["distill", "screen", "teacher"] = "distill"
    # Stop after this epoch with a checkpoint, as if a pause had been requested.
    pause_after_epoch: Annotated[int, Field(ge=1)] | None = None
    # Add to the result which test images the student classifies correctly.
    record_correct: bool = False
    students: list[ScreenedStudent] = []
    # Publish the students' ONNX files, so that another device can measure their latency.
    publish_files: bool = False
    # Processes that export the students of `screen`.
    processes: Annotated[int, Field(ge=1)] = 1
    # The worker has GPUs: a run that cannot use them fails instead of computing on the CPU.
    needs_gpu: bool = False
    # Folder of measurements that runs on this machine share.
    screen_cache: Path | None = None


DEFAULT_OPTIONS = RunOptions()
