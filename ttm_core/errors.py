"""The engine's exceptions. Each has a stable code, an origin (user or system), and whether a retry can succeed."""

from collections.abc import Sequence
from typing import ClassVar, Literal

Origin = Literal["user", "system"]

_LISTED = 5  # names in a message


class EngineError(Exception):
    """Base of all errors of the engine. `code` is stable; the message is meant to be read."""

    code: ClassVar[str] = "engine_error"
    origin: ClassVar[Origin] = "system"
    retryable: ClassVar[bool] = True

    @property
    def message(self) -> str:
        return str(self)


class UserError(EngineError):
    """The input is wrong; a retry fails in the same way."""

    code = "invalid_input"
    origin: ClassVar[Origin] = "user"
    retryable = False


class BadCheckpoint(UserError):
    """The checkpoint is unsafe, damaged or holds no model weights."""

    code = "bad_checkpoint"


class ArchitectureMismatch(UserError):
    """The checkpoint's tensors do not fit the architecture; the message lists the keys."""

    code = "architecture_mismatch"


class HubUnreachable(EngineError):
    """Published weights cannot be downloaded now."""

    code = "hub_unreachable"


class TeacherAtChance(UserError):
    """The teacher's validation accuracy is not above chance, and `teacher.allow_chance` is false."""

    code = "teacher_at_chance"


class BadDataset(UserError):
    """The dataset is empty, unsafe, unreadable or does not match the teacher."""

    code = "bad_dataset"


class BadImage(UserError):
    """The image that a model is asked about cannot be decoded."""

    code = "bad_image"


class BadSpec(UserError):
    """The settings cannot run with this data or these models."""

    code = "bad_spec"


class NonFiniteLoss(UserError):
    """The loss became NaN or infinite; the message names the step and the term."""

    code = "non_finite_loss"


class OutOfMemory(EngineError):
    """The device or the host ran out of memory; a retry would, too."""

    code = "out_of_memory"
    origin: ClassVar[Origin] = "user"
    retryable = False


class ReaderKilled(EngineError):
    """The process that parses an untrusted file was killed from outside."""

    code = "reader_killed"


class MeasuringKilled(EngineError):
    """The process that measures a student's latency was killed from outside, several times in a row."""

    code = "measuring_killed"


class DeviceUnavailable(EngineError):
    """torch cannot compute on the GPUs of the worker."""

    code = "device_unavailable"


class StorageFull(EngineError):
    """The disk under the work directory or the storage is full."""

    code = "storage_full"


def not_finite(name: str) -> BadCheckpoint:
    """The error of a checkpoint whose tensor `name` has NaN or infinite values."""
    return BadCheckpoint(f"Tensor {truncated(name)!r} has NaN or infinite values.")


def beyond_float32(name: str) -> BadCheckpoint:
    """The error of a checkpoint whose float64 tensor `name` has values that float32 cannot represent."""
    return BadCheckpoint(
        f"Tensor {truncated(name)!r} has float64 values beyond the range of float32 (3.4e38), in which models compute."
    )


def one_output(owner: str) -> str:
    """The message for a binary classifier with one output."""
    return (
        f"The {owner} has one output, as binary classifiers with a sigmoid have. Give it two, 0 and the output: for a "
        "linear classifier, put a row of zeros before the row of its weight and of its bias."
    )


def listed(names: Sequence[str]) -> str:
    """The first five names and the number of the others, for a message."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def truncated(text: str) -> str:
    """At most 200 characters of a text from a file, for a message."""
    return text if len(text) <= 200 else text[:197] + "..."
