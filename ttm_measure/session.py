"""Sessions of ONNX Runtime on the CPU, the input that they are measured with, and their per-operator times."""

import json
import math
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from ttm_measure.graph import CheckedFile
from ttm_measure.schema import MeasureError, OperatorTime, Profile

PROVIDER = "CPUExecutionProvider"
_ELEMENTS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_MOST_INPUT_BYTES = 2**30
_ERRORS_ONLY = 3
_RUNS = 20
_SUFFIX = "_kernel_time"
_LAYOUT = "(layout)"
_LAYOUT_OPERATORS = {"ReorderInput", "ReorderOutput"}
_T = TypeVar("_T")


class Session:
    """A loaded model with a random image batch, uniform in [0, 1] from a fixed seed."""

    def __init__(self, file: CheckedFile, *, batch: int, threads: int, profile_prefix: Path | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        if profile_prefix is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile_prefix)
        started = time.perf_counter()
        self._session = onnxruntime.InferenceSession(file.content, options, providers=[PROVIDER])
        self.load_ms = (time.perf_counter() - started) * 1000
        self._inputs = self._random_batch(batch)

    def run(self) -> None:
        self._session.run(None, self._inputs)

    def end_profiling(self) -> Path:
        """The path of the written profile."""
        return Path(self._session.end_profiling())

    def _random_batch(self, batch: int) -> dict[str, NDArray[np.floating]]:
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _ELEMENTS:
            raise MeasureError("refused", "the model must have exactly one input, of float32 or float16 images")
        fixed, *image = inputs[0].shape
        if len(image) != 3 or not all(isinstance(side, int) and side > 0 for side in image):
            raise MeasureError(
                "refused", f"the input must have the shape [batch, C, H, W] with known C, H, W, not {inputs[0].shape}"
            )
        if isinstance(fixed, int) and fixed != batch:
            raise MeasureError("refused", f"the model takes batches of {fixed}, not of {batch}")
        if 4 * batch * math.prod(image) > _MOST_INPUT_BYTES:
            raise MeasureError("refused", f"a batch of {batch} images has more than {_MOST_INPUT_BYTES:,} bytes")
        pixels = np.random.default_rng(0).random((batch, *image), np.float32)
        return {inputs[0].name: pixels.astype(_ELEMENTS[inputs[0].type], copy=False)}


def run_or_fail(action: Callable[[], _T]) -> _T:
    """Calls ONNX Runtime, and turns its errors into MeasureError."""
    try:
        return action()
    except MeasureError:
        raise
    except MemoryError as error:
        raise MeasureError("memory", "there is not enough memory to run the model") from error
    except Exception as error:  # ONNX Runtime's errors have no other common base
        message = str(error).partition("\n")[0]
        if "bad_alloc" in message or "allocate memory" in message:
            raise MeasureError("memory", "there is not enough memory to run the model") from error
        raise MeasureError("failed", f"ONNX Runtime cannot run the model: {message}") from error


def profile_file(file: CheckedFile, *, batch: int, threads: int) -> Profile:
    """Runs the model 20 times under ONNX Runtime's profiler; each operator's time is the median over the runs."""
    with tempfile.TemporaryDirectory() as folder:
        session = Session(file, batch=batch, threads=threads, profile_prefix=Path(folder) / "profile")
        for _ in range(_RUNS + 1):  # the first run allocates memory
            session.run()
        events = json.loads(session.end_profiling().read_bytes())
    return Profile(
        sha256=file.sha256, precision=file.precision, batch=batch, threads=threads, operators=_operators(events)
    )


def _operators(events: list[dict[str, Any]]) -> list[OperatorTime]:
    microseconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            microseconds[event["name"].removesuffix(_SUFFIX), event["args"]["op_name"]].append(event["dur"])
    return [
        OperatorTime(layer=layer(name, operator), operator=operator, ms=statistics.median(times[1:] or times) / 1000)
        for (name, operator), times in microseconds.items()
    ]


def layer(node: str, operator: str) -> str:
    """The layer of a node: the part of its name before a slash.

    Students' nodes are named LAYER/OPERATOR, and ONNX Runtime derives the names of fused nodes from them. Other files'
    nodes are layers of their own.
    """
    if operator in _LAYOUT_OPERATORS:
        return _LAYOUT
    return node.partition("/")[0].removesuffix("_nchwc") or operator
