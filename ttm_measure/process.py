"""Measures ONNX files in a process of their own, with limits on memory and time.

A graph that crashes ONNX Runtime, loops or allocates without end fails with MeasureError and leaves the caller intact.
A process that is killed from outside, as by the kernel for lack of memory, is started up to three times.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ttm_measure.schema import MeasureError, Measurement, Profile, Shape

# Seconds before a process that was killed from outside is started again.
_PAUSES = (1.0, 5.0)
# The signals that a graph can cause: errors of ONNX Runtime, and the limits of the process.
_OF_THE_GRAPH = frozenset(
    getattr(signal, name)
    for name in ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP", "SIGXCPU", "SIGXFSZ")
    if hasattr(signal, name)
)
# Thread pools of NumPy's libraries count against the limits.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Limits:
    """Limits of one measuring process.

    Attributes:
        memory_bytes: private memory.
        seconds: wall-clock time of the process.
        file_bytes: size of each ONNX file.
    """

    memory_bytes: int = 4 * 2**30
    seconds: float = 120.0
    file_bytes: int = 2**30


def measure(
    path: str | os.PathLike[str],
    *,
    batch: int = 1,
    threads: int = 1,
    relative_error: float = 0.02,
    seconds: float = 5.0,
    limits: Limits | None = None,
) -> Measurement:
    """Measures one ONNX file in ONNX Runtime on the CPU.

    The process is pinned to `threads` cores where the system supports it. After a warm-up, runs repeat until the median
    latency is known to `relative_error`, or for `seconds`; `Measurement.relative_error` states the result.

    Raises:
        MeasureError: the file is refused, cannot run, or exceeds a limit.
    """
    (result,) = compare([path], [Shape(batch, threads)], relative_error=relative_error, seconds=seconds, limits=limits)
    return result


def compare(
    paths: Sequence[str | os.PathLike[str]],
    shapes: Sequence[Shape] = (Shape(1, 1),),
    *,
    relative_error: float = 0.02,
    seconds: float = 5.0,
    limits: Limits | None = None,
) -> list[Measurement]:
    """Measures several files at several shapes; at each shape in alternating blocks, so that the load of the machine
    affects all files alike.

    Takes up to `seconds` for each file and shape. All files of a shape are in memory at once.

    Returns:
        One measurement per shape and file: for each shape in order, the files in order.

    Raises:
        MeasureError: one of the files is refused, cannot run, or exceeds a limit.
    """
    request = {"shapes": shapes, "relative_error": relative_error, "seconds": seconds}
    return [Measurement.model_validate(result) for result in _run("measure", paths, request, limits or Limits())]


def profile(path: str | os.PathLike[str], *, batch: int = 1, threads: int = 1, limits: Limits | None = None) -> Profile:
    """Per-operator time of one ONNX file, from ONNX Runtime's profiler.

    Raises:
        MeasureError: the file is refused, cannot run, or exceeds a limit.
    """
    (result,) = _run("profile", [path], {"shapes": [Shape(batch, threads)]}, limits or Limits())
    return Profile.model_validate(result)


def _run(
    task: Literal["measure", "profile"],
    paths: Sequence[str | os.PathLike[str]],
    request: dict[str, Any],
    limits: Limits,
) -> list[dict[str, Any]]:
    names = ", ".join(Path(path).name for path in paths)
    message = {
        "task": task,
        "files": [os.path.abspath(path) for path in paths],
        **request,
        "memory_bytes": limits.memory_bytes,
        "file_bytes": limits.file_bytes,
        # A thread that ignores the wall-clock limit ends when its CPU time is used up.
        "cpu_seconds": int((limits.seconds + 1) * max(1, *(shape.threads for shape in request["shapes"]))),
    }
    for pause in (*_PAUSES, None):
        output, returncode = _run_once(json.dumps(message).encode(), limits.seconds)
        if output is None:
            raise MeasureError("time", f"{names} was not measured within {limits.seconds:g} s")
        if output or returncode >= 0 or -returncode in _OF_THE_GRAPH:
            return _results(output, names, limits)
        if pause is not None:
            time.sleep(pause)
    raise MeasureError(
        "killed",
        f"the process that measured {names} was killed {len(_PAUSES) + 1} times ({signal.Signals(-returncode).name}), "
        "by the kernel for lack of memory or manually",
    )


def _run_once(message: bytes, seconds: float) -> tuple[bytes | None, int]:
    """The output of one process, None if it took longer, and its exit status."""
    with subprocess.Popen(
        [sys.executable, "-m", "ttm_measure.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(part or os.getcwd() for part in sys.path)},
    ) as process:
        assert process.stdin is not None
        try:
            # The pipe stays open: the process ends when its parent does.
            with suppress(BrokenPipeError):
                process.stdin.write(message + b"\n")
                process.stdin.flush()
            output = _read_to_end(process, seconds)
        finally:
            process.kill()
    return output, process.returncode


def _read_to_end(process: subprocess.Popen[bytes], seconds: float) -> bytes | None:
    """The output of the process; None if it takes longer."""
    stdin, process.stdin = process.stdin, None  # communicate() would close it
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        return None
    finally:
        process.kill()
        if stdin is not None:
            stdin.close()


def _results(output: bytes, names: str, limits: Limits) -> list[dict[str, Any]]:
    match json.loads(output) if output else {}:
        case {"results": list() as results}:
            return results
        case {"code": "refused" | "failed" | "memory" | "time" as code, "message": str() as reason}:
            raise MeasureError(code, reason)
        case _:
            raise MeasureError(
                "failed",
                f"the process that ran {names} ended without a result: the file is damaged, or it needs more than "
                f"{limits.memory_bytes:,} bytes of memory",
            )
