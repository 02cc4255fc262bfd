"""What foreign exceptions mean for a run."""

import errno

import torch

from ttm_core.errors import EngineError, OutOfMemory, StorageFull

_HOST_MEMORY = ("not enough memory", "can't allocate memory", "cannot allocate memory")


def as_engine_error(error: Exception) -> EngineError:
    """The engine's own error for anything that a run can end with; unknown ones are the system's, and retryable."""
    match error:
        case EngineError():
            return error
        case torch.OutOfMemoryError() | MemoryError():
            return OutOfMemory(_advice(error))
        case RuntimeError() if any(words in str(error).lower() for words in _HOST_MEMORY):
            return OutOfMemory(_advice(error))
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return StorageFull(f"no space left: {error.filename or error}")
        case _:
            return EngineError(f"{type(error).__name__}: {error}")


def _advice(error: Exception) -> str:
    first = (str(error) or type(error).__name__).splitlines()[0][:300]
    return f"out of memory: {first}. A smaller batch_size or image_size needs less."
