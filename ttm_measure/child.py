"""The process that runs ONNX files: `python -m ttm_measure.child`, with a request as a line of JSON on standard input.

Writes one JSON object to standard output. Ends when standard input is closed.
"""

import gc
import json
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime  # type: ignore[import-untyped]
from pydantic import BaseModel

from ttm_measure import machine
from ttm_measure.graph import CheckedFile, read_checked
from ttm_measure.schema import MeasureError, Measurement, Shape
from ttm_measure.session import PROVIDER, Session, profile_file, run_or_fail
from ttm_measure.timing import time_interleaved

_ADDRESS_SPACE = 8 * 2**30  # libraries reserve ranges that they never use
_PROFILE_BYTES = 2**30


def main() -> None:
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _limit(request["memory_bytes"], request["cpu_seconds"])
    try:
        answer: dict[str, Any] = {"results": _run(request)}
    except MeasureError as error:
        answer = {"code": error.code, "message": error.message}
    except MemoryError:
        answer = {"code": "memory", "message": "there is not enough memory to read the model"}
    with os.fdopen(1, "wb", closefd=False) as out:
        out.write(json.dumps(answer).encode())
    # ONNX Runtime may hang or crash at exit after it failed to allocate memory.
    os._exit(0)


def _run(request: dict[str, Any]) -> list[dict[str, Any]]:
    files = [read_checked(Path(path), request["file_bytes"]) for path in request["files"]]
    cores = machine.usable_cores()
    results: list[BaseModel] = []
    for batch, threads in request["shapes"]:
        pinned = machine.pin(cores, threads)
        if request["task"] == "profile":
            results += [run_or_fail(partial(profile_file, file, batch=batch, threads=threads)) for file in files]
        else:
            accuracy = {"relative_error": request["relative_error"], "seconds": request["seconds"]}
            results += _measure(files, Shape(batch, threads), pinned=pinned, **accuracy)
    return [result.model_dump() for result in results]


def _measure(
    files: Sequence[CheckedFile], shape: Shape, *, pinned: bool, relative_error: float, seconds: float
) -> list[Measurement]:
    batch, threads = shape
    sessions, memory = [], []
    for file in files:
        meter = machine.PeakMemory()
        session = run_or_fail(partial(Session, file, batch=batch, threads=threads))
        run_or_fail(session.run)
        sessions.append(session)
        memory.append(meter.added_bytes())
    gc.disable()
    latencies = run_or_fail(
        lambda: time_interleaved([session.run for session in sessions], relative_error=relative_error, seconds=seconds)
    )
    return [
        Measurement(
            sha256=file.sha256,
            runtime_version=onnxruntime.__version__,
            provider=PROVIDER,
            cpu=machine.cpu_model(),
            precision=file.precision,
            batch=batch,
            threads=threads,
            pinned=pinned,
            p50_ms=latency.p50_ms,
            p90_ms=latency.p90_ms,
            throughput=batch * 1000 / latency.p50_ms,
            repeats=latency.repeats,
            relative_error=latency.relative_error,
            load_ms=session.load_ms,
            peak_memory_bytes=peak,
        )
        for file, session, latency, peak in zip(files, sessions, latencies, memory, strict=True)
    ]


def _limit(memory_bytes: int, cpu_seconds: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_DATA, memory_bytes, memory_bytes),
        (resource.RLIMIT_AS, memory_bytes + _ADDRESS_SPACE, memory_bytes + _ADDRESS_SPACE),
        # At the hard limit, the kernel sends SIGKILL, as it does for lack of memory.
        (resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 5),
        (resource.RLIMIT_FSIZE, _PROFILE_BYTES, _PROFILE_BYTES),
    ):
        with suppress(ValueError, OSError):  # not supported by this system
            present = resource.getrlimit(limit)[1]
            if present != resource.RLIM_INFINITY:
                soft, hard = min(soft, present), min(hard, present)
            resource.setrlimit(limit, (soft, hard))


def _end_with_parent() -> None:
    while os.read(0, 1 << 16):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
