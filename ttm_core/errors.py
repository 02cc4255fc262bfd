"""The engine's error tree. Each says whose fault it is and whether trying again can help."""

from typing import ClassVar, Literal

Origin = Literal["user", "system"]


class EngineError(Exception):
    """Anything the engine refuses or cannot do. `code` is stable; the message is for people."""

    code: ClassVar[str] = "engine_error"
    origin: ClassVar[Origin] = "system"
    retryable: ClassVar[bool] = True

    @property
    def message(self) -> str:
        return str(self)


class UserError(EngineError):
    """The input is wrong: trying again changes nothing."""

    code = "invalid_input"
    origin: ClassVar[Origin] = "user"
    retryable = False


class BadCheckpoint(UserError):
    """A checkpoint that is unsafe, damaged, or not a model's weights."""

    code = "bad_checkpoint"


class ArchitectureMismatch(UserError):
    """A checkpoint whose tensors do not fit the architecture; the message names the keys."""

    code = "architecture_mismatch"


class TeacherUnreachable(EngineError):
    """The published weights of a teacher cannot be fetched now."""

    code = "teacher_unreachable"


class BadDataset(UserError):
    """A dataset that is empty, unsafe, unreadable, or does not match the teacher."""

    code = "bad_dataset"


class BadSpec(UserError):
    """A combination of settings that cannot run, seen only with the data or the model at hand."""

    code = "bad_spec"


class NonFiniteLoss(UserError):
    """The loss became NaN or infinite; the message names the step and the term."""

    code = "non_finite_loss"


class OutOfMemory(EngineError):
    """The device or the host ran out of memory; the same run would again."""

    code = "out_of_memory"
    origin: ClassVar[Origin] = "user"
    retryable = False


class StorageFull(EngineError):
    """The disk under the work directory or the storage is full."""

    code = "storage_full"
