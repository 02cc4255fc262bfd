"""The limits of a reader process."""

import os
from dataclasses import dataclass

_MIB = 2**20
_BYTES_PER_SECOND = 2**20


@dataclass(frozen=True)
class ReaderLimits:
    """Limits of one reader process.

    Args:
        memory_bytes: private memory (RLIMIT_DATA).
        seconds: CPU time and wall-clock time, plus one second for each MiB of the input.
    """

    memory_bytes: int = 2 * 2**30
    seconds: float = 120.0

    @classmethod
    def from_environment(cls) -> "ReaderLimits":
        """The limits in TTM_READER_MEMORY_BYTES and TTM_READER_SECONDS, else the defaults."""
        return cls(
            memory_bytes=int(os.environ.get("TTM_READER_MEMORY_BYTES") or cls.memory_bytes),
            seconds=float(os.environ.get("TTM_READER_SECONDS") or cls.seconds),
        )

    def seconds_for(self, input_bytes: int) -> float:
        """The time limit in seconds for an input of this size."""
        return self.seconds + input_bytes / _BYTES_PER_SECOND

    @property
    def memory(self) -> str:
        return f"{self.memory_bytes / _MIB:,.0f} MiB"
