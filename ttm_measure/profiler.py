"""Per-operator time from ONNX Runtime's own profile."""

import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from ttm_measure.graph import CheckedFile
from ttm_measure.schema import OperatorTime, Profile
from ttm_measure.session import Session

_RUNS = 20
_SUFFIX = "_kernel_time"
_LAYOUT = "(layout)"
_LAYOUT_OPERATORS = {"ReorderInput", "ReorderOutput"}


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
