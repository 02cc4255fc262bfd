"""Starts reader processes and converts their failures to errors of the file's owner."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ttm_core.errors import EngineError, ReaderKilled, StorageFull, UserError
from ttm_core.reader.limits import ReaderLimits
from ttm_core.sandbox import paths
from ttm_core.sandbox.environment import without_secrets

_MAX_ANSWER_BYTES = 256 * 2**20
# Signals that no content of a file causes.
_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
# Libraries that read the environment when they are imported. A thread pool per library would count against the limits.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def read_untrusted(
    task: str,
    arguments: dict[str, Any],
    *,
    input_bytes: int,
    file_bytes: int,
    error: type[UserError],
    subject: str,
    reads: Iterable[str | Path] = (),
    writes: Iterable[str | Path] = (),
    limits: ReaderLimits | None = None,
    slow: type[EngineError] | None = None,
) -> Any:
    """Runs a task of `ttm_core.reader.tasks` in a process of its own and returns its answer.

    The process is in a sandbox, as far as the system supports it: no network, and no files but these and those of
    Python. The environment variable TTM_TRAINER_ISOLATION=off disables the sandbox.

    Args:
        input_bytes: size of the input, which extends the time limit.
        file_bytes: maximum size of a written file.
        error: raised for invalid input, and if the process crashes or exceeds a limit.
        subject: what is read, for the message: "The checkpoint".
        reads: files and folders that the process may read.
        writes: folders in which it may also write.
        slow: raised if the process exceeds its time. Default: `error`.

    Raises:
        StorageFull: the disk is full.
        ReaderKilled: the process was killed from outside.
        EngineError: the machine failed, for example with an input/output error.
    """
    limits = limits or ReaderLimits.from_environment()
    seconds = limits.seconds_for(input_bytes)
    rules = {"memory_bytes": limits.memory_bytes, "cpu_seconds": int(seconds) + 1, "file_bytes": file_bytes}
    given = {"arguments": arguments, "sandbox": _sandbox(reads, writes)}
    process = subprocess.Popen(
        [sys.executable, "-m", "ttm_core.reader", task, json.dumps(rules)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={
            **without_secrets(),
            **_ENVIRONMENT,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        },
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            # The pipe stays open: the process ends when its parent does.
            process.stdin.write(json.dumps(given).encode() + b"\n")
            process.stdin.flush()
            raw = _until_end(process.stdout.fileno(), time.monotonic() + seconds)
            if raw is not None:
                process.wait(timeout=max(seconds, 10))
        except BrokenPipeError:
            raw = b""
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
        finally:
            process.kill()
            status = process.wait()
    if raw is None or status == -signal.SIGXCPU:
        raise (slow or error)(f"{subject} was not read within the limit of {seconds:,.0f} s (TTM_READER_SECONDS).")
    if -status in _FROM_OUTSIDE:
        raise ReaderKilled(
            f"{subject} was not read: its reader was killed ({signal.Signals(-status).name}), by the kernel for lack "
            "of memory or manually."
        )
    if status < 0:
        raise error(
            f"{subject} cannot be read: the reader was stopped by {signal.Signals(-status).name}. The file is damaged, "
            f"or reading it needs more than {limits.memory} of memory (TTM_READER_MEMORY_BYTES)."
        )
    return _answer(raw, error, subject, limits)


def _sandbox(reads: Iterable[str | Path], writes: Iterable[str | Path]) -> dict[str, list[str]] | None:
    if sys.platform != "linux" or os.environ.get("TTM_TRAINER_ISOLATION") == "off":
        return None
    return {
        "list": paths.listed(),
        "read": [*paths.programs(), "/dev", *paths.existing(map(str, reads))],
        "write": ["/dev/null", *paths.existing(map(str, writes))],
    }


def _until_end(descriptor: int, deadline: float) -> bytes | None:
    """Reads a pipe to its end. Returns None at the deadline, or if there is too much to read."""
    content = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0 and len(content) <= _MAX_ANSWER_BYTES:
            if selector.select(min(left, 1.0)):
                chunk = os.read(descriptor, 1 << 20)
                if not chunk:
                    return bytes(content)
                content += chunk
    return None


def _answer(raw: bytes, error: type[UserError], subject: str, limits: ReaderLimits) -> Any:
    try:
        answer = json.loads(raw)
    except ValueError:
        answer = {"kind": "memory"}  # without memory for its own error message, the process ends without an answer
    match answer:
        case {"kind": "done", "result": result}:
            return result
        case {"kind": "refused", "message": str() as message}:
            raise error(message)
        case {"kind": "storage_full", "message": str() as message}:
            raise StorageFull(message)
        case {"kind": "system", "message": str() as message}:
            raise EngineError(message)
        case _:
            raise error(
                f"{subject} needs more than {limits.memory} of memory to be read, the limit of TTM_READER_MEMORY_BYTES."
            )
