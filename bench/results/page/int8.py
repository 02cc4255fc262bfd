"""The section of the int8 files of four students."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.results.page.sentences import origin
from bench.results.page.text import wrapped

_CALIBRATIONS = {"min_max": "min-max", "percentile": "percentile", "mse": "least squares", "entropy": "entropy"}

# The rule of `quantize.mode: auto` with its default `accept_drop`.
_ACCEPTED_DROP, _ACCEPTED_CHANGED = 0.5, 0.02

_BEFORE = """\
Students at 64 pixels, trained with wttm for {epochs} epochs on {train_images:,} photographs of {data} (AdamW, learning
rate 0.002), one seed each. The teacher is the published ResNet-56, except for the pruned ResNet-50: it is cut out of a
ResNet-50 that was trained in the same way. The EfficientNet starts with ImageNet's weights, the others with random
ones. Quantization-aware training has 2 epochs more, so that its file may be more accurate than the float32 file.
Validation uses 500 photographs, so that one photograph is 0.2 points."""

_CALIBRATED = """\
Validation top-1 of the int8 files minus that of the float32 file, in points, for each way to set the ranges of
activations. The best one is compared with the file after quantization-aware training. The agreement is
that of this file with its simulation. `quantize.mode: auto` trains the quantized student if the best one loses more
than 0.5 points or changes the class of more than 2 % of the photographs."""

_TESTED = """\
Test top-1 on {test_images:,} photographs, and int8 minus float32 in points; the intervals are a paired bootstrap over
the photographs. The columns after `auto` are of the file that it exports. Latency is the median of one image on one
thread in ONNX Runtime, measured in turns for the float32 and the int8 file (95 % intervals within {latency_error:.0f}
%); files with and without training have the same operators. The last column is what the job recommends for this
machine: int8 loses more than the accepted 0.5 points of top-1 or is slower where it is fp32."""

Run = Mapping[str, Any]


@dataclass(frozen=True)
class _Student:
    """The runs of a student. Without a run of `post_training`, the run of `aware` exported the same file."""

    aware: Run
    post_training: Run

    @property
    def trains(self) -> bool:
        """Whether `auto` trains the quantized student."""
        chosen = self.post_training["quantization"]["chosen"]
        return -chosen["change_points"] > _ACCEPTED_DROP or 1 - chosen["agreement"] > _ACCEPTED_CHANGED

    @property
    def auto(self) -> Run:
        """The run that exported the file of `auto`."""
        return self.aware if self.trains else self.post_training

    @property
    def timed(self) -> Run:
        """The run with the more precise latencies."""
        return min((self.aware, self.post_training), key=lambda run: float(run["latency_relative_error"]))


def int8_section(path: Path) -> str:
    """Heading, text and tables; empty without the record."""
    if not path.exists():
        return ""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    students = _students(record["runs"])
    error = 100 * max(student.timed["latency_relative_error"] for student in students)
    facts = {**record["runs"][0], "data": record["data"], "latency_error": math.ceil(error)}
    parts = [
        "## Int8: post-training and quantization-aware\n",
        wrapped(_BEFORE.format_map(facts)),
        wrapped(_CALIBRATED),
        _calibrations(students),
        wrapped(_TESTED.format_map(facts)),
        _files(students),
        origin(record),
    ]
    return "\n".join(parts) + "\n"


def _students(runs: Sequence[Run]) -> list[_Student]:
    post_training = {run["variant"]: run for run in runs if run["mode"] == "post_training"}
    return [_Student(run, post_training.get(run["variant"], run)) for run in runs if run["mode"] == "aware"]


def _calibrations(students: Sequence[_Student]) -> str:
    head = ["student", *_CALIBRATIONS.values(), "chosen", "layers in float32", "same class", "quantization-aware"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for student in students:
        found = student.aware["quantization"]
        best: dict[str, float] = {}
        for tried in found["tried"]:
            best[tried["calibration"]] = max(tried["change_points"], best.get(tried["calibration"], -100.0))
        aware, chosen = found["aware"], found["chosen"]
        if aware["top1_after"] is None:
            trained = f"failed: {aware['reason']}"
        else:
            change = 100 * (aware["top1_after"] - aware["top1_before"]) + chosen["change_points"]
            trained = f"{change:+.1f}, agreement {100 * aware['agreement']:.1f} %"
        cells = [
            f"`{student.aware['variant']}`",
            *(f"{best[name]:+.1f}" if name in best else "-" for name in _CALIBRATIONS),
            _CALIBRATIONS[chosen["calibration"]],
            str(len(chosen["float_layers"])),
            f"{100 * chosen['agreement']:.1f} %",
            trained,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _files(students: Sequence[_Student]) -> str:
    head = [
        "student",
        "float32",
        "post-training",
        "quantization-aware",
        "`auto`",
        "MB",
        "ms",
        "times faster",
        "to ship",
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for student in students:
        run, ms = student.auto, student.timed["latency_ms"]
        sizes = run["sizes"]
        advice = next(each for each in run["recommendations"] if each["batch"] == 1 and each["threads"] == 1)
        exported = student.aware["quantization"]["aware"]["exported"]
        cells = [
            f"`{run['variant']}`",
            f"{100 * run['test']:.2f}",
            _change(student.post_training),
            _change(student.aware) if exported else "not better in validation",
            "trained" if student.trains else "post-training",
            f"{sizes['fp32'] / 1e6:.2f} → {sizes['int8'] / 1e6:.2f}",
            f"{ms['fp32']:.2f} → {ms['int8']:.2f}",
            f"{ms['fp32'] / ms['int8']:.2f}",
            advice["precision"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _change(run: Run) -> str:
    found = run["int8"]
    return f"{100 * found['mean']:+.2f} [{100 * found['low']:+.2f}, {100 * found['high']:+.2f}]"
