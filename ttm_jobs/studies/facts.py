"""What a study's decisions depend on: its plan, its screened candidates and the results of its jobs.

Plain values, so that decisions are pure functions that tests and replays can call.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from ttm_jobs.states import TERMINAL, JobState

Precision = Literal["fp32", "int8"]
# In sentences.
PRECISION_NAMES: Mapping[str, str] = {"fp32": "float32", "int8": "int8"}
Goal = Literal["smallest", "fastest", "most_accurate"]


class JobKind(StrEnum):
    """What a job does."""

    # Trains a student.
    DISTILL = "distill"
    # Builds and measures the candidates of a study without training.
    SCREEN = "screen"
    # Stores the teacher's logits of all views.
    TEACHER = "teacher"


@dataclass(frozen=True)
class Limits:
    """The limits of a study; None where there is none. Ratios and accuracies in [0, 1], latency in milliseconds."""

    retention: float | None = None
    accuracy: float | None = None
    bytes: int | None = None
    latency_ms: float | None = None
    macs: int | None = None
    parameters: int | None = None
    precision: Literal["fp32", "int8", "any"] = "any"


@dataclass(frozen=True)
class Plan:
    """The part of a study's spec that decides. `epochs` is the length of a final run."""

    goal: Goal
    limits: Limits
    epochs: int
    seeds: int = 3
    candidates: int = 27
    baseline: bool = True
    stored_logits: bool = True
    screen_only: bool = False
    device_hours: float | None = None
    # Name of the device that measures latency; None for the worker.
    device: str | None = None


class Timing(StrEnum):
    """Whether a file's latency is known."""

    # A device has to be asked.
    MISSING = "missing"
    # A device has been asked.
    REQUESTED = "requested"
    # Measured, or the device has failed to.
    DONE = "done"


@dataclass(frozen=True)
class Variant:
    """An exported file of a candidate. `latency_ms` is the median for one image; None if it was not measured."""

    precision: Precision
    bytes: int
    latency_ms: float | None = None
    timing: Timing = Timing.DONE


@dataclass(frozen=True)
class Screen:
    """The measurements of an untrained candidate. `error` is the reason if it cannot be built or exported."""

    parameters: int = 0
    macs: int | None = None
    variants: Sequence[Variant] = ()
    error: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A candidate by number. Candidates with equal `student` differ only in values of the search space."""

    number: int
    student: str
    screen: Screen | None = None
    label: str = ""


@dataclass(frozen=True)
class FinalResult:
    """The result of a complete run. `correct` marks the test images that the student classifies correctly."""

    validation: float
    teacher_validation: float | None = None
    test: float | None = None
    teacher_test: float | None = None
    correct: Sequence[bool] | None = None
    # Accuracy of the int8 file minus that of the float32 student: on the test split, or validation without one, and on
    # the validation split.
    int8_change: float | None = None
    int8_validation_change: float | None = None
    # Sizes of the exported files. An int8 file with layers in float32 is larger than the screened one.
    onnx_bytes: Mapping[Precision, int] = field(default_factory=dict)
    # Their median latencies for one image on one thread on the worker of the run, as far as they were measured.
    onnx_latency_ms: Mapping[Precision, float] = field(default_factory=dict)
    # Whether the int8 file has layers in float32, so that its latency is not that of the screened one.
    int8_in_float: bool = False
    # Whether the latency of such a file on the study's device is known, and the latency in ms; None if the device
    # failed to measure it. Without a named device, the worker's measurements count.
    on_device: Timing | None = None
    device_latency_ms: float | None = None

    def has(self, precision: Precision) -> bool:
        """Whether the run has a file of this precision whose accuracy was measured."""
        return precision == "fp32" or self.int8_change is not None

    def validation_of(self, precision: Precision) -> float:
        """The validation accuracy of a file that the run has."""
        known = self.int8_validation_change
        return self.validation + (known if precision == "int8" and known is not None else self.change_to(precision))

    def test_of(self, precision: Precision) -> float | None:
        """The test accuracy of a file that the run has; None without a test split."""
        return None if self.test is None else self.test + self.change_to(precision)

    def change_to(self, precision: Precision) -> float:
        """The accuracy of a file that the run has minus that of the float32 student: test accuracy, or validation
        accuracy without a test split.
        """
        return (self.int8_change or 0.0) if precision == "int8" else 0.0


@dataclass(frozen=True)
class Trial:
    """A job of a study. `accuracies` has the best validation accuracy up to the last epoch of each rung it reached."""

    job_id: str
    kind: JobKind
    state: JobState
    candidate: int = 0
    seed: int = 0
    baseline: bool = False
    rung: int = 0
    accuracies: Mapping[int, float] = field(default_factory=dict)
    result: FinalResult | None = None
    failure: str | None = None

    @property
    def dead(self) -> bool:
        """Whether it ended without a student."""
        return self.state in TERMINAL and self.state is not JobState.SUCCEEDED


@dataclass(frozen=True)
class Facts:
    """Everything that decides the next actions of a study.

    `stopped_at_rung` is the first rung that was not started because the device hours were used up.
    """

    plan: Plan
    candidates: Sequence[Candidate]
    trials: Sequence[Trial] = ()
    device_hours: float = 0.0
    stopped_at_rung: int | None = None
    overdue: bool = False
